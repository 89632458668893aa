/* entry.c - the program mihwar-worker: a worker with our own tasks. Everything else is in the library, so that
 * anybody's program can be one (mihwar.h). */
#include "lib/mihwar.h"

int main(int argc, char **argv)
{
    return mw_worker_main(argc, argv, NULL, 0);
}
