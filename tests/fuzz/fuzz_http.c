/* fuzz_http.c - an answer to a request that may be anything, in pieces of any length: it is judged, within its ceilings, and the
 * same bytes in one piece are judged alike.
 *
 * The first byte of the input is the length of the pieces. */
#include "rt/http_answer.h"
#include "tests/fuzz/fuzz.h"

static enum answer_progress feed(const uint8_t *data, size_t size, size_t step,
                                 struct http_response *r)
{
    enum answer_progress got = ANSWER_MORE;
    struct http_answer a;

    *r = (struct http_response){.body = BUF(KiB(4))};
    http_answer_begin(&a, r, false);
    for (size_t i = 0; i < size && got == ANSWER_MORE; i += step)
        got = http_answer_take(&a, (const char *)data + i, MIN(step, size - i));
    if (got == ANSWER_MORE)
        got = http_answer_close(&a);
    http_answer_release(&a);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_response pieces, whole;

    if (size == 0)
        return 0;
    enum answer_progress a = feed(data + 1, size - 1, data[0] ? data[0] : 1, &pieces),
                         b = feed(data + 1, size - 1, SIZE_MAX / 2, &whole);
    if (a != b || pieces.status != whole.status || pieces.body.len > KiB(4) ||
        (a == ANSWER_WHOLE && pieces.body.len != whole.body.len))
        abort();
    http_response_release(&pieces);
    http_response_release(&whole);
    return 0;
}
