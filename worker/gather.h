/* gather.h - options that may be given more than once, made into one setting.
 *
 *     --load a.so --load b.so     ->  --worker-load a.so,b.so
 *     --exec x=/bin/x             ->  --worker-exec x=/bin/x
 */
#pragma once

struct gathered {
    int argc;
    char **argv;
    char *lists[2]; /* what was put together */
};
struct gathered gather(int argc, char **argv);
void gathered_release(struct gathered *g); /* for _cleanup_ */
