/* replay.c - runs the kept corpus through the target, as a test: one input a line, in hex. */
#include "base/text.h"
#include "tests/fuzz/fuzz.h"
#include <errno.h>

static size_t replay(const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t size = 0, ran = 0;
    ssize_t n;

    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    while ((n = getline(&line, &size, f)) > 0) {
        if (line[n - 1] == '\n')
            line[--n] = 0;
        uint8_t *data =
            xmalloc((size_t)n / 2 + 1); /* of nearly its size: the sanitizer sees the end */
        if (n % 2 || !hex_decode(line, data, (size_t)n / 2)) {
            fprintf(stderr, "%s:%zu: not hex\n", path, ran + 1);
            exit(1);
        }
        LLVMFuzzerTestOneInput(data, (size_t)n / 2);
        free(data);
        ran++;
    }
    free(line);
    fclose(f);
    return ran;
}

int main(int argc, char **argv)
{
    size_t ran = 0;

    for (int i = 1; i < argc; i++)
        ran += replay(argv[i]);
    printf("%zu inputs\n", ran);
    return ran > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
