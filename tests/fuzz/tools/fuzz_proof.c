/* Files that are said to prove something: foreign bytes prove nothing. */
#include "tools/proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(proof_fini) struct proof p = {.now_s = 1790000000};

    CHECK(proof_add(&p, "one", span_of(data, size)) == 0);
    CHECK(proof_add(&p, "two", span_of(data, size / 2)) == 0);
    CHECK(!proof_judge(&p));
    for (size_t i = 0; i < p.count; i++)
        CHECK(p.items[i]->why[0] != '\0' && proof_title(p.items[i]) != NULL);
    return 0;
}
