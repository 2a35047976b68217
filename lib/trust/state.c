/* {"sequence":12,"floor":{"tcb":{"<fmspc>":18},"qe":18}}, replaced whole. */
#include "trust/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"

enum { STATE_MAX = 64 * 1024 };

void trust_state_fini(struct trust_state *s)
{
    free(s->file);
    *s = (struct trust_state){0};
}

static int complain(const char *file, char why[static TRUST_STATE_WHY_LEN])
{
    snprintf(why, TRUST_STATE_WHY_LEN, "%.300s: %s", file, strerror(errno));
    return E_IO;
}

static int parse(struct trust_state *s, struct span json)
{
    AUTO_JSON json_t *doc = NULL;
    struct attest_floor floor;
    struct json_member member;
    int64_t sequence = 0;

    TRY(json_read(json, &doc));
    TRY(json_obj_int(doc, "sequence", 0, INT64_MAX, &sequence));
    TRY(json_member_find(json, "floor", &member));
    TRY(attest_floor_read(&floor, member.value));
    s->sequence = (uint64_t)sequence;
    s->floor = floor;
    return 0;
}

static int read_file(struct trust_state *s, const char *file, char why[static TRUST_STATE_WHY_LEN])
{
    AUTO(buf_fini) struct buf text = {0};
    const int error = file_read(file, STATE_MAX, &text);

    if (error == E_IO)
        return errno == ENOENT ? 0 : complain(file, why);
    if (error == 0 && parse(s, buf_span(&text)) == 0)
        return 0;
    snprintf(why, TRUST_STATE_WHY_LEN,
             "%.300s: it does not hold the sequence and floor that were known before", file);
    return E_INVALID;
}

int trust_state_open(struct trust_state *s, const char *file, char why[static TRUST_STATE_WHY_LEN])
{
    if (s->file)
        return 0;
    TRY(read_file(s, file, why));
    s->file = mem_strdup(file);
    return 0;
}

static int write_file(const struct trust_state *s, uint64_t sequence,
                      const struct attest_floor *floor, char why[static TRUST_STATE_WHY_LEN])
{
    AUTO(buf_fini) struct buf text = {0};

    buf_printf(&text, "{\"sequence\":%llu,\"floor\":", (unsigned long long)sequence);
    attest_floor_write(floor, &text);
    buf_append_str(&text, "}\n");
    return file_replace(s->file, buf_span(&text), 0644) < 0 ? complain(s->file, why) : 0;
}

int trust_state_take(struct trust_state *s, const struct attest_policy *p,
                     char why[static TRUST_STATE_WHY_LEN])
{
    const uint64_t new = attest_policy_sequence(p);

    if (new < s->sequence) {
        snprintf(why, TRUST_STATE_WHY_LEN,
                 "The policy's sequence is %llu, and %llu was used before: an older policy is not "
                 "accepted.",
                 (unsigned long long)new, (unsigned long long)s->sequence);
        return E_EXPIRED;
    }
    if (new > s->sequence)
        TRY(write_file(s, new, &s->floor, why));
    s->sequence = new;
    return 0;
}

int trust_state_raise(struct trust_state *s, const struct attest_floor *floor,
                      char why[static TRUST_STATE_WHY_LEN])
{
    s->floor = *floor;
    return s->file ? write_file(s, s->sequence, floor, why) : 0;
}
