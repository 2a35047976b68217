/* Types of files in a table: how each is told, and how it is judged. Documents and keysets are read
 * first, since they bring the keys; then records are verified, documents judged as of the requests
 * they vouch for, and contents held against the hashes. */
#include "tools/proof_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "attest/document_read.h"
#include "base/encode.h"

/* A key is accepted five minutes beyond its keyset's end, and clocks may be a minute off. */
enum { KEY_GRACE_S = 360, CLOCK_SLACK_S = 60 };

/* ---- Findings ---- */

void proof_find(struct proof_item *it, bool good, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(it->why, sizeof(it->why), fmt, args);
    va_end(args);
    it->good = good;
}

static bool digest_is(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, SHA256_LEN) == 0;
}

/* ---- Documents, keysets, collateral ---- */

static void document_open(struct proof *p, struct proof_item *it)
{
    AUTO(attest_document_fini) struct attest_document d = {0};

    (void)p;
    if (attest_document_read(&d, buf_span(&it->bytes)) < 0)
        proof_find(it, false, "It is no well-formed attestation document.");
    else if (keyset_parse(&it->keyset, buf_span(&d.keyset)) < 0)
        proof_find(it, false, "Its keyset is not well-formed.");
    else
        it->has_keyset = true;
}

static void keyset_open(struct proof *p, struct proof_item *it)
{
    (void)p;
    it->has_keyset = keyset_parse(&it->keyset, buf_span(&it->bytes)) == 0;
    if (!it->has_keyset)
        proof_find(it, false, "The keyset is not well-formed.");
}

static void collateral_open(struct proof *p, struct proof_item *it)
{
    (void)p;
    if (collateral_read_bytes(&it->collateral, buf_span(&it->bytes)) < 0)
        proof_find(it, false, "It is no collateral.");
    else
        proof_find(it, true, "Collateral; what it says counts only as far as Intel signed it.");
}

/* The time of the earliest request that the document vouches for, within its keys' life: a worker's
 * clock says it, so it is not proven. */
static uint64_t time_of(const struct proof *p, const struct proof_item *document)
{
    const struct keyset *k = &document->keyset;
    uint64_t earliest = UINT64_MAX;

    if (p->at_s)
        return p->at_s;
    for (size_t i = 0; i < p->count; i++) {
        const struct proof_record *r = p->items[i]->record;
        if (r && r->by == document && r->u.t0_ms / 1000 < earliest)
            earliest = r->u.t0_ms / 1000;
    }
    if (earliest == UINT64_MAX)
        return p->now_s;
    earliest = earliest < k->not_before ? k->not_before : earliest;
    return earliest < k->not_after ? earliest : k->not_after;
}

/* With the collateral of each file in turn, then with what is stapled: the first that is accepted,
 * else what the last one said. */
static void document_judge(struct proof *p, struct proof_item *it)
{
    struct attest_input in = {
        .document = buf_span(&it->bytes), .policy = p->policy, .cache = p->cache};
    int error = E_DENIED;

    if (!it->has_keyset)
        return;
    in.now_s = it->judged_s = time_of(p, it);
    for (size_t i = 0; i <= p->count && error < 0; i++) {
        AUTO(keyset_fini) struct keyset k = {0};
        const struct proof_item *with = i < p->count ? p->items[i] : NULL;
        if (with && with->collateral.tcb_info.len == 0)
            continue;
        in.collateral = with ? &with->collateral : NULL;
        error = attest_verify(&in, &k, &it->verdict);
    }
    if (error == 0)
        proof_find(it, true, "The policy accepts this worker: measurement \"%s\", %s.",
                   it->verdict.measurement, attest_env_name(it->verdict.env));
    else
        proof_find(it, false, "The policy refuses this worker: %s (%s)%s%s",
                   attest_reason_sentence(it->verdict.reason),
                   attest_reason_name(it->verdict.reason), it->verdict.detail[0] ? ": " : "",
                   it->verdict.detail);
}

static bool is_document(const struct proof_item *it)
{
    return it->type->judge[PASS_DOCUMENTS] == document_judge;
}

static void keyset_judge(struct proof *p, struct proof_item *it)
{
    if (!it->has_keyset)
        return;
    proof_find(it, false, "No attestation document here vouches for this keyset.");
    for (size_t i = 0; i < p->count; i++) {
        const struct proof_item *other = p->items[i];
        if (is_document(other) && other->has_keyset &&
            digest_is(other->keyset.digest, it->keyset.digest))
            proof_find(it, other->good, "It is the keyset of %s.", other->name);
    }
}

/* ---- Records ---- */

static bool holds_key(const struct keyset *k, const uint8_t kfp[static SHA256_LEN])
{
    uint8_t digest[SHA256_LEN];

    for (size_t i = 0; i < k->hpke_count; i++) {
        sha256(digest, k->hpke[i]);
        if (digest_is(digest, kfp))
            return true;
    }
    return false;
}

static bool serves(const struct keyset *k, struct span model)
{
    for (size_t i = 0; i < k->model_count; i++)
        if (span_eq(k->models[i], model))
            return true;
    return false;
}

static bool in_time(const struct keyset *k, const struct usage_record *u)
{
    const uint64_t t0_s = u->t0_ms / 1000;

    return u->t0_ms <= u->t1_ms && t0_s + CLOCK_SLACK_S >= k->not_before &&
           t0_s <= k->not_after + KEY_GRACE_S;
}

/* NULL, or what does not fit between a record and the keyset whose key signed it. */
static const char *misfit(const struct proof_record *r, const struct keyset *k)
{
    if (!digest_is(r->u.keyset, k->digest))
        return "It names another keyset than that of the key that signed it.";
    if (!holds_key(k, r->u.kfp))
        return "Its keyset does not hold the key that the request was encrypted to.";
    if (!serves(k, r->u.model))
        return "Its keyset does not name its model.";
    if (!in_time(k, &r->u))
        return "Its times are not within its keyset's.";
    if (r->is_receipt && (!span_eq(r->extra.model_digest, k->model_digest) ||
                          !span_eq(r->extra.config_sha256, k->config_sha256)))
        return "It names another model or configuration than its keyset.";
    return NULL;
}

static int record_verify(struct proof_record *r, const uint8_t key[static ED25519_KEY_LEN],
                         struct span jws)
{
    AUTO(ed25519_free) struct ed25519 *public = NULL;

    TRY(ed25519_from_public(&public, span_of(key, ED25519_KEY_LEN)));
    return r->is_receipt ? receipt_verify(&r->u, &r->extra, public, jws)
                         : usage_record_verify(&r->u, public, jws);
}

static void record_free(struct proof_record *r)
{
    if (!r)
        return;
    usage_record_fini(&r->u);
    free(r);
}

/* The signer's key lives through several keysets: the document that the record names, else any that
 * has the key, so that the misfit can be named. */
static struct proof_record *record_open(const struct proof *p, struct proof_item *it,
                                        bool is_receipt)
{
    struct proof_record *found = NULL;

    for (size_t i = 0; i < p->count; i++) {
        const struct proof_item *d = p->items[i];
        struct proof_record *r;
        if (!is_document(d) || !d->has_keyset ||
            (found && digest_is(found->u.keyset, found->by->keyset.digest)))
            continue;
        r = mem_zero(sizeof(*r));
        r->is_receipt = is_receipt;
        r->by = d;
        if (record_verify(r, d->keyset.receipt_key, buf_span(&it->bytes)) < 0) {
            free(r);
            continue;
        }
        record_free(found);
        found = r;
    }
    return found;
}

static void record_judge(struct proof *p, struct proof_item *it, bool is_receipt)
{
    const char *wrong;

    it->record = record_open(p, it, is_receipt);
    if (!it->record) {
        proof_find(it, false,
                   "No attestation document here holds the key that signed it, or it was changed.");
        return;
    }
    wrong = misfit(it->record, &it->record->by->keyset);
    proof_find(it, !wrong, "%s", wrong ? wrong : "It is signed by the worker.");
}

static void usage_judge(struct proof *p, struct proof_item *it)
{
    record_judge(p, it, false);
}

static void receipt_judge(struct proof *p, struct proof_item *it)
{
    record_judge(p, it, true);
}

const struct proof_record *proof_partner(const struct proof *p, const struct proof_record *r)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct proof_record *o = p->items[i]->record;
        if (o && o->is_receipt != r->is_receipt && strcmp(o->u.call, r->u.call) == 0 &&
            o->u.attempt == r->u.attempt)
            return o;
    }
    return NULL;
}

static bool records_agree(const struct usage_record *a, const struct usage_record *b)
{
    return digest_is(a->op, b->op) && digest_is(a->kfp, b->kfp) &&
           digest_is(a->keyset, b->keyset) && span_eq(a->model, b->model) && a->in == b->in &&
           a->cached == b->cached && a->out == b->out && a->reasoning == b->reasoning &&
           strcmp(a->price, b->price) == 0 && a->outcome == b->outcome &&
           digest_is(a->req, b->req) && strcmp(a->env, b->env) == 0;
}

bool proof_call_fits(const struct proof_item *it, const char *call)
{
    return !it->call || strcmp(it->call, call) == 0;
}

/* What only a judged document, or what stands beside it, can say. */
static void record_conclude(struct proof *p, struct proof_item *it)
{
    const struct proof_record *r = it->record, *partner = r ? proof_partner(p, r) : NULL;

    if (!r || !it->good)
        return;
    if (!r->by->good)
        proof_find(it, false, "It is signed by a worker that the policy refuses.");
    else if (strcmp(r->u.env, attest_env_name(r->by->verdict.env)) != 0)
        proof_find(it, false, "It names another environment than the worker's evidence.");
    else if (partner && !records_agree(&r->u, &partner->u))
        proof_find(it, false, "Usage record and content receipt of this call do not agree.");
    else if (!proof_call_fits(it, r->u.call))
        proof_find(it, false, "The file names another call beside it.");
}

/* ---- Contents ---- */

static const char *bound_as(const struct proof_record *r, const uint8_t digest[static SHA256_LEN])
{
    if (r->is_receipt && digest_is(r->extra.resp_body, digest))
        return "answer";
    if (r->is_receipt && digest_is(r->extra.req_body, digest))
        return "request";
    if (digest_is(r->u.req, digest))
        return "encrypted request";
    return !r->is_receipt && digest_is(r->u.resp, digest) ? "encrypted answer" : NULL;
}

static void contents_judge(struct proof *p, struct proof_item *it)
{
    uint8_t digest[SHA256_LEN];

    sha256(digest, buf_span(&it->bytes));
    proof_find(it, false,
               "No receipt here names these bytes: they are another answer or request, or "
               "were changed.");
    for (size_t i = 0; i < p->count && !it->good; i++) {
        const struct proof_item *by = p->items[i];
        const char *what = by->record ? bound_as(by->record, digest) : NULL;
        if (!what)
            continue;
        it->bound = by;
        proof_find(it, by->good, "It is the %s of call %s, byte for byte%s.", what,
                   by->record->u.call, by->good ? "" : ", says a record that does not hold");
    }
}

bool proof_has_contents(const struct proof *p, const struct proof_record *r, const char *what)
{
    uint8_t digest[SHA256_LEN];

    for (size_t i = 0; i < p->count; i++) {
        const struct proof_item *it = p->items[i];
        if (!it->bound || it->bound->record != r)
            continue;
        sha256(digest, buf_span(&it->bytes));
        if (strcmp(bound_as(r, digest), what) == 0)
            return true;
    }
    return false;
}

/* ---- The table ---- */

/* The last one takes what no other is. */
static const struct proof_type proof_types[] = {
    {"usage record",
     USAGE_TYP,
     NULL,
     NULL,
     {[PASS_RECORDS] = usage_judge, [PASS_BINDING] = record_conclude}},
    {"content receipt",
     RECEIPT_TYP,
     NULL,
     NULL,
     {[PASS_RECORDS] = receipt_judge, [PASS_BINDING] = record_conclude}},
    {"attestation document",
     NULL,
     "format",
     ATTEST_DOCUMENT_FORMAT,
     {[PASS_KEYS] = document_open, [PASS_DOCUMENTS] = document_judge}},
    {"keyset",
     NULL,
     "format",
     "cgw/keyset/v1",
     {[PASS_KEYS] = keyset_open, [PASS_BINDING] = keyset_judge}},
    {"bill",
     BILL_TYP,
     NULL,
     NULL,
     {[PASS_RECORDS] = proof_bill_verify, [PASS_CONTENTS] = proof_bill_bind}},
    {"operator's document", NULL, "format", "cgw/operator/v1", {[PASS_KEYS] = proof_operator_open}},
    {"operator's signature", NULL, NULL, NULL, {[PASS_CONTENTS] = proof_signature_judge}},
    {"price book", NULL, "format", "cgw/prices/v1", {[PASS_KEYS] = proof_book_open}},
    {"bill's proof", NULL, "root", NULL, {[PASS_CONTENTS] = proof_tree_judge}},
    {"collateral", NULL, "tcb_info", NULL, {[PASS_KEYS] = collateral_open}},
    {"contents", NULL, NULL, NULL, {[PASS_CONTENTS] = contents_judge}},
};
enum { TYPES = sizeof(proof_types) / sizeof(proof_types[0]) };

const char *proof_title(const struct proof_item *it)
{
    return it->type->title;
}

/* typ of a compact JWS; data NULL when the bytes are none. doc owns it. */
static struct span jws_typ(struct span bytes, json_t **doc)
{
    AUTO(buf_fini) struct buf header = {0};
    struct span rest = bytes, typ = {0};
    const struct span first = span_split(&rest, '.');

    if (base64url_decode(&header, first) < 0 || json_read(buf_span(&header), doc) < 0 ||
        json_obj_string(*doc, "typ", &typ) < 0)
        return (struct span){0};
    return typ;
}

static bool is_type(const struct proof_type *t, struct span bytes, struct span typ,
                    const json_t *doc)
{
    struct span text;

    if (t->judge[PASS_CONTENTS] == proof_signature_judge)
        return proof_is_signature(bytes);
    if (t->typ)
        return typ.data && span_is(typ, t->typ);
    if (!t->member)
        return true;
    return doc && json_obj_string(doc, t->member, &text) == 0 &&
           (!t->value || span_is(text, t->value));
}

static const struct proof_type *type_of(struct span bytes, const json_t *doc)
{
    AUTO_JSON json_t *header = NULL;
    const struct span typ = jws_typ(bytes, &header);
    size_t i = 0;

    while (i < TYPES - 1 && !is_type(&proof_types[i], bytes, typ, doc))
        i++;
    return &proof_types[i];
}

/* ---- Adding ---- */

static int item_add(struct proof *p, const char *name, const char *member, struct span bytes,
                    const json_t *doc)
{
    AUTO(buf_fini) struct buf full = {0};
    struct proof_item *it;

    if (p->count == PROOF_ITEMS_MAX)
        return E_TOO_LARGE;
    buf_printf(&full, "%s%s%s", name, member ? ": " : "", member ? member : "");
    it = p->items[p->count++] = mem_zero(sizeof(*it));
    it->name = mem_strdup(buf_cstr(&full));
    it->type = type_of(bytes, doc);
    /* An editor's line end behind a JWS is none of its bytes. */
    buf_append(&it->bytes, it->type->typ && span_ends(bytes, SPAN("\n"))
                               ? span_cut(bytes, 0, bytes.len - 1)
                               : bytes);
    return 0;
}

static const char *const handed[] = {"usage", "receipt", "bill"};
enum { HANDED = sizeof(handed) / sizeof(handed[0]) };

static struct span handed_of(const json_t *doc, const char *member)
{
    struct span text = {0};

    if (json_obj_string(doc, member, &text) < 0)
        return (struct span){0};
    return text;
}

static bool is_jws(struct span bytes)
{
    AUTO_JSON json_t *header = NULL;

    return jws_typ(bytes, &header).data != NULL;
}

/* What the gateway or the ledger hands over for a call: an object with JWS among its members. */
static bool is_handed_over(const json_t *doc)
{
    for (size_t i = 0; i < HANDED; i++)
        if (is_jws(handed_of(doc, handed[i])))
            return true;
    return false;
}

/* A member that is no JWS any more was changed: it is added too, as bytes that nothing names. */
static int handed_add(struct proof *p, const char *name, const json_t *doc)
{
    const json_t *proof = json_object_get(doc, "proof"), *call = json_object_get(doc, "call");
    const size_t before = p->count;

    for (size_t i = 0; i < HANDED; i++) {
        const struct span bytes = handed_of(doc, handed[i]);
        if (bytes.data)
            TRY(item_add(p, name, handed[i], bytes, NULL));
        if (bytes.data && call)
            p->items[p->count - 1]->call =
                mem_strdup(json_is_string(call) ? json_string_value(call) : "");
    }
    if (!json_is_object(proof))
        return 0;
    char *text = json_dumps(proof, JSON_COMPACT);
    const int error = item_add(p, name, "proof", span_str(text), proof);
    free(text);
    TRY(error);
    for (size_t i = before; i + 1 < p->count; i++)
        if (p->items[i]->type->judge[PASS_RECORDS] == proof_bill_verify)
            p->items[p->count - 1]->of = p->items[i];
    return 0;
}

int proof_add(struct proof *p, const char *name, struct span bytes)
{
    AUTO_JSON json_t *doc = NULL;

    if (json_read(bytes, &doc) < 0 || !is_handed_over(doc))
        return item_add(p, name, NULL, bytes, doc);
    return handed_add(p, name, doc);
}

/* ---- Judging ---- */

bool proof_judge(struct proof *p)
{
    bool good = true;
    size_t records = 0;

    for (int pass = 0; pass < PASSES; pass++)
        for (size_t i = 0; i < p->count; i++)
            if (p->items[i]->type->judge[pass])
                p->items[i]->type->judge[pass](p, p->items[i]);
    for (size_t i = 0; i < p->count; i++) {
        good = good && p->items[i]->good;
        records += (p->items[i]->record || p->items[i]->has_bill) && p->items[i]->good ? 1 : 0;
    }
    return good && records > 0;
}

void proof_fini(struct proof *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct proof_item *it = p->items[i];
        record_free(it->record);
        keyset_fini(&it->keyset);
        collateral_fini(&it->collateral);
        free(it->bill_keys);
        price_book_unref(it->book);
        bill_fini(&it->bill);
        buf_wipe(&it->bytes);
        free(it->call);
        free(it->name);
        free(it);
    }
    p->count = 0;
}
