/* old.c - a plug-in of another time. */
#include <mihwar.h>

const struct mw_plugin mw_plugin = {MW_ABI + 1, NULL, 0};
