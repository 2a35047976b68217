/* Reads attestation documents (wire.md §2). */
#include "attest/document_read.h"

#include "attest/event_log.h"
#include "base/encode.h"

void attest_document_fini(struct attest_document *d)
{
    json_decref(d->json);
    buf_fini(&d->keyset);
    buf_fini(&d->device_evidence);
    buf_fini(&d->quote);
    buf_fini(&d->event_log);
}

static int base64_get(const json_t *object, const char *name, struct buf *out)
{
    struct span text;

    TRY(json_obj_string(object, name, &text));
    return base64_decode(out, text);
}

static int event_log_get(struct attest_document *d)
{
    if (!json_object_get(d->json, "event_log"))
        return 0;
    TRY(base64_get(d->json, "event_log", &d->event_log));
    return d->event_log.len <= EVENT_LOG_MAX ? 0 : E_TOO_LARGE;
}

int attest_document_read(struct attest_document *d, struct span bytes)
{
    struct span format, nonce;

    *d = (struct attest_document){0};
    if (bytes.len > ATTEST_MAX_DOCUMENT)
        return E_TOO_LARGE;
    TRY(json_read(bytes, &d->json));
    TRY(json_obj_string(d->json, "format", &format));
    if (!span_is(format, ATTEST_DOCUMENT_FORMAT))
        return E_INVALID;
    TRY(json_obj_string(d->json, "tee", &d->tee));
    TRY(json_obj_string(d->json, "nonce", &nonce));
    TRY(hex_decode(d->nonce, sizeof(d->nonce), nonce));
    TRY(base64_get(d->json, "keyset", &d->keyset));
    TRY(base64_get(d->json, "device_evidence", &d->device_evidence));
    TRY(base64_get(d->json, "quote", &d->quote));
    TRY(event_log_get(d));
    d->collateral = json_object_get(d->json, "collateral");
    return !d->collateral || json_is_object(d->collateral) ? 0 : E_INVALID;
}
