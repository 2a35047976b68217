/* Replays a crypto-agile event log (TCG PC Client Platform Firmware Profile §10.2) to RTMR0..3.
 *
 * Recomputed from their content: EV_SEPARATOR, EV_ACTION and EV_EFI_ACTION, whose digest is over
 * the event's own bytes, and EV_EFI_VARIABLE_DRIVER_CONFIG, where these are the variable with its
 * name (UEFI_VARIABLE_DATA, §10.2.6). Digests of other types are over what the log does not hold,
 * as images and blobs, or over what differs between loaders, as EV_IPL's texts (of which a Linux
 * stub leaves out or takes in the closing NUL) and boot variables: they are taken as they stand,
 * and prove order alone. */
#include "attest/event_log.h"

#include "crypto/hash.h"

enum { ALG_SHA384 = 0x000c, DIGEST_LEN = 48, RTMRS = 4, MAX_ALGORITHMS = 8 };
enum {
    EV_NO_ACTION = 0x00000003,
    EV_SEPARATOR = 0x00000004,
    EV_ACTION = 0x00000005,
    EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001,
    EV_EFI_ACTION = 0x80000007
};
enum { LEGACY_DIGEST_LEN = 20 }; /* of the first record, in the older form */

static const char SIGNATURE[16] = "Spec ID Event03";

/* Digest sizes that the log's first record declares. */
struct algorithms {
    struct {
        uint16_t id, len;
    } items[MAX_ALGORITHMS];
    size_t count;
};

static int take(struct span *rest, size_t len, struct span *out)
{
    if (rest->len < len)
        return E_INVALID;
    *out = span_of(rest->data, len);
    *rest = span_of(rest->data + len, rest->len - len);
    return 0;
}

static int take_number(struct span *rest, size_t len, uint32_t *out)
{
    struct span bytes;

    TRY(take(rest, len, &bytes));
    *out = 0;
    for (size_t i = 0; i < len; i++)
        *out |= (uint32_t)bytes.data[i] << 8 * i;
    return 0;
}

/* TCG_EfiSpecIDEvent: signature(16) class(4) minor major errata uintn(1 each) count(4)
 * count × { id(2) size(2) } vendor. */
static int spec_id_read(struct span event, struct algorithms *out)
{
    struct span signature, versions;
    uint32_t count;

    TRY(take(&event, sizeof(SIGNATURE), &signature));
    TRY(take(&event, 8, &versions));
    TRY(take_number(&event, 4, &count));
    if (memcmp(signature.data, SIGNATURE, sizeof(SIGNATURE)) != 0 || count == 0 ||
        count > MAX_ALGORITHMS)
        return E_INVALID;
    for (out->count = 0; out->count < count; out->count++) {
        uint32_t id, len;

        TRY(take_number(&event, 2, &id));
        TRY(take_number(&event, 2, &len));
        if (len == 0 || len > 64 || (id == ALG_SHA384 && len != DIGEST_LEN))
            return E_INVALID;
        out->items[out->count].id = (uint16_t)id;
        out->items[out->count].len = (uint16_t)len;
    }
    return 0;
}

/* TCG_PCClientPCREvent: register(4) type(4) digest(20) size(4) event. */
static int first_record_read(struct span *rest, struct algorithms *algorithms)
{
    struct span skipped, event;
    uint32_t register_index, type, len;

    TRY(take_number(rest, 4, &register_index));
    TRY(take_number(rest, 4, &type));
    TRY(take(rest, LEGACY_DIGEST_LEN, &skipped));
    TRY(take_number(rest, 4, &len));
    TRY(take(rest, len, &event));
    return type == EV_NO_ACTION ? spec_id_read(event, algorithms) : E_INVALID;
}

static size_t digest_len(const struct algorithms *a, uint32_t id)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].id == id)
            return a->items[i].len;
    return 0;
}

/* TPML_DIGEST_VALUES: count(4), count × { id(2) digest }. The one of SHA-384. */
static int digests_read(struct span *rest, const struct algorithms *algorithms,
                        const uint8_t **sha384_digest)
{
    uint32_t count;

    *sha384_digest = NULL;
    TRY(take_number(rest, 4, &count));
    if (count > MAX_ALGORITHMS)
        return E_INVALID;
    for (uint32_t i = 0; i < count; i++) {
        struct span digest;
        uint32_t id;

        TRY(take_number(rest, 2, &id));
        if (digest_len(algorithms, id) == 0)
            return E_INVALID;
        TRY(take(rest, digest_len(algorithms, id), &digest));
        if (id == ALG_SHA384 && *sha384_digest)
            return E_INVALID;
        if (id == ALG_SHA384)
            *sha384_digest = digest.data;
    }
    return *sha384_digest ? 0 : E_INVALID;
}

static bool is_over_its_event(uint32_t type)
{
    return type == EV_SEPARATOR || type == EV_ACTION || type == EV_EFI_ACTION ||
           type == EV_EFI_VARIABLE_DRIVER_CONFIG;
}

static int digest_check(uint32_t type, struct span event, const uint8_t *digest)
{
    uint8_t mine[SHA384_LEN];

    if (!is_over_its_event(type))
        return 0;
    sha384(mine, event);
    return memcmp(mine, digest, DIGEST_LEN) == 0 ? 0 : E_INVALID;
}

static void extend(uint8_t rtmr[static DIGEST_LEN], const uint8_t *digest)
{
    uint8_t both[2 * DIGEST_LEN];

    memcpy(both, rtmr, DIGEST_LEN);
    memcpy(both + DIGEST_LEN, digest, DIGEST_LEN);
    sha384(rtmr, SPAN_OF(both));
}

/* TCG_PCR_EVENT2: register(4) type(4) digests size(4) event. In a CCEL register 1 to 4 stand for
 * RTMR0 to RTMR3, and 0 for MRTD (UEFI 2.10 §38.4.1). */
static int record_replay(struct span *rest, const struct algorithms *algorithms,
                         uint8_t rtmr[static RTMRS][ATTEST_MR_LEN])
{
    const uint8_t *digest;
    struct span event;
    uint32_t index, type, len;

    TRY(take_number(rest, 4, &index));
    TRY(take_number(rest, 4, &type));
    TRY(digests_read(rest, algorithms, &digest));
    TRY(take_number(rest, 4, &len));
    TRY(take(rest, len, &event));
    if (type == EV_NO_ACTION || index == 0)
        return 0;
    if (index > RTMRS)
        return E_INVALID;
    TRY(digest_check(type, event, digest));
    extend(rtmr[index - 1], digest);
    return 0;
}

/* Unused room behind the last record is all 0xff or all zero. */
static bool is_padding(struct span rest)
{
    for (size_t i = 0; i < rest.len; i++)
        if (rest.data[i] != rest.data[0])
            return false;
    return rest.len == 0 || rest.data[0] == 0xff || rest.data[0] == 0;
}

int event_log_replay(struct span log, uint8_t rtmr[static RTMRS][ATTEST_MR_LEN])
{
    struct algorithms algorithms = {.count = 0};
    struct span rest = log;

    if (log.len > EVENT_LOG_MAX)
        return E_TOO_LARGE;
    memset(rtmr, 0, RTMRS * sizeof(rtmr[0]));
    TRY(first_record_read(&rest, &algorithms));
    while (!is_padding(rest))
        TRY(record_replay(&rest, &algorithms, rtmr));
    return 0;
}
