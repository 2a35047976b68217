/* The key is read once, so that a mistake shows when the settings are read. */
#include "gateway/payer.h"

#include "auth/keys.h"
#include "config/config.h"

int payer_read(const char *file, struct buf *key)
{
    struct api_key parsed;

    TRY(config_read_secret(file, key));
    TRY(api_key_parse(&parsed, buf_span(key)));
    crypto_wipe(&parsed, sizeof(parsed));
    return 0;
}
