/* Key configurations: one, and a document of them. */
#include "ohttp/key_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(struct span bytes)
{
    struct key_config config;

    if (key_config_parse(&config, bytes) < 0)
        return;
    CHECK(bytes.len >= 41 && config.key_id == bytes.data[0]);
    CHECK(key_config_offers(&config, 0x20, 1, 2) || key_config_offers(&config, 0x20, 1, 3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span document = span_of(data, size), config;
    AUTO(buf_fini) struct buf again = {0};
    size_t at = 0;
    int error;

    parse(document);
    while ((error = key_config_next(document, &at, &config)) == 0) {
        parse(config);
        key_config_append(&again, config);
    }
    CHECK(error == E_NOT_FOUND || error == E_INVALID);
    CHECK(span_eq(buf_span(&again), span_cut(document, 0, at)));
    return 0;
}
