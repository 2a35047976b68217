/* What a call cost: the bill by the operator's published keys, held against the worker's usage
 * record and the price book, and its place in a day's tree (wire.md §12, money.md §7). */
#include <stdlib.h>

#include "base/encode.h"
#include "billing/price_book.h"
#include "crypto/detached.h"
#include "ledger/books/chain.h"
#include "tools/proof_impl.h"

enum { BILL_KEYS_MAX = 256, PATH_MAX_HASHES = 64, KEY_ID_TEXT = 22, SIGNATURE_TEXT = 86 };
enum { SKEW_S = 60 }; /* a bill's time and its key's come from one machine's clock */

/* ---- Keys and prices ---- */

static int key_read(struct proof_bill_key *out, const json_t *key)
{
    const json_t *since = json_object_get(key, "since");
    int64_t seconds = 0;
    struct span hex;

    TRY(json_obj_string(key, "ed25519", &hex));
    TRY(hex_decode(out->key, sizeof(out->key), hex));
    if (since && !json_is_null(since))
        TRY(json_obj_int(key, "since", 1, INT64_MAX / 1000, &seconds));
    out->since_s = (uint64_t)seconds;
    return 0;
}

static int keys_read(struct proof_item *it, const json_t *list)
{
    if (!json_is_array(list) || json_array_size(list) > BILL_KEYS_MAX)
        return E_INVALID;
    it->bill_keys = mem_zero((json_array_size(list) + 1) * sizeof(*it->bill_keys));
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(key_read(&it->bill_keys[it->bill_key_count++], json_array_get(list, i)));
    return 0;
}

bool proof_is_signature(struct span bytes)
{
    const struct span id = span_split(&bytes, ' ');

    return id.len == KEY_ID_TEXT && span_visible(id, KEY_ID_TEXT) &&
           (bytes.len == SIGNATURE_TEXT ||
            (bytes.len == SIGNATURE_TEXT + 1 && bytes.data[SIGNATURE_TEXT] == '\n')) &&
           span_visible(span_cut(bytes, 0, SIGNATURE_TEXT), SIGNATURE_TEXT);
}

/* By any signature that is here. */
static bool is_signed(struct proof *p, const struct proof_item *document)
{
    bool found = false;

    for (size_t i = 0; i < p->count; i++) {
        struct proof_item *it = p->items[i];
        if (it->type->judge[PASS_CONTENTS] != proof_signature_judge ||
            detached_verify("cgw/operator/v1", buf_span(&document->bytes), buf_span(&it->bytes),
                            &p->operator_key, 1) < 0)
            continue;
        found = it->signs = true;
    }
    return found;
}

void proof_operator_open(struct proof *p, struct proof_item *it)
{
    AUTO_JSON json_t *doc = NULL;
    const bool wanted = p->operator_key.len > 0;

    if (wanted && !is_signed(p, it))
        proof_find(it, false,
                   "No signature here (/.well-known/cocoon.json.sig) is the operator's of it.");
    else if (json_read(buf_span(&it->bytes), &doc) < 0 ||
             keys_read(it, json_object_get(doc, "bill_keys")) < 0)
        proof_find(it, false, "Its bill keys cannot be read.");
    else if (wanted)
        proof_find(it, true, "The operator's key signed it.");
    else
        proof_find(it, true, "Keys that an operator says are its own; nothing here proves it.");
}

void proof_signature_judge(struct proof *p, struct proof_item *it)
{
    if (p->operator_key.len == 0)
        proof_find(it, true, "A signature; it proves nothing without the operator's key.");
    else if (it->signs)
        proof_find(it, true, "The operator's signature of its document.");
    else
        proof_find(it, false, "It is not the operator's signature of any document here.");
}

void proof_book_open(struct proof *p, struct proof_item *it)
{
    (void)p;
    if (price_book_parse(&it->book, buf_span(&it->bytes)) < 0)
        proof_find(it, false, "It is no price book.");
    else
        proof_find(it, true, "Prices of version %lld.", (long long)it->book->version);
}

/* ---- Bills ---- */

/* Which of a document's keys signed it; NULL: none. */
static const struct proof_bill_key *verify_by(struct proof_item *it, const struct proof_item *by)
{
    for (size_t i = 0; i < by->bill_key_count; i++) {
        AUTO(ed25519_free) struct ed25519 *key = NULL;
        if (ed25519_from_public(&key, SPAN_OF(by->bill_keys[i].key)) == 0 &&
            bill_verify(&it->bill, key, buf_span(&it->bytes)) == 0)
            return &by->bill_keys[i];
    }
    return NULL;
}

void proof_bill_verify(struct proof *p, struct proof_item *it)
{
    const struct proof_bill_key *key = NULL;

    for (size_t i = 0; i < p->count && !key; i++)
        key = verify_by(it, p->items[i]);
    it->has_bill = key;
    if (!key)
        proof_find(
            it, false,
            "No operator's document (/.well-known/cocoon.json) here holds the key that signed "
            "it, or it was changed.");
    else if (key->since_s > it->bill.t_ms / 1000 + SKEW_S)
        proof_find(it, false, "It names a time before its key was made.");
    else
        proof_find(it, true, "It is signed by the operator.");
}

static const struct proof_item *usage_of(const struct proof *p, const struct bill *b)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct proof_record *r = p->items[i]->record;
        if (r && !r->is_receipt && strcmp(r->u.call, b->call) == 0 && r->u.attempt == b->attempt)
            return p->items[i];
    }
    return NULL;
}

/* NULL, or what does not fit. Less may be charged than the worker counted, never more. */
static const char *usage_misfit(const struct bill *b, const struct proof_item *usage)
{
    const struct usage_record *u = &usage->record->u;
    uint8_t digest[SHA256_LEN];
    char price[40];

    sha256(digest, buf_span(&usage->bytes));
    snprintf(price, sizeof(price), "%lld;%lld", (long long)b->price, (long long)b->coefficient);
    if (memcmp(digest, b->usage, SHA256_LEN) != 0)
        return "It names another usage record than this call's.";
    if (!span_eq(b->model, u->model) || strcmp(price, u->price) != 0)
        return "It names another model or price than the usage record.";
    if (b->in > u->in || b->out > u->out)
        return "It charges more tokens than the worker counted.";
    return NULL;
}

static const char *price_misfit(const struct bill *b, const struct price_book *book)
{
    const struct price_tokens t = {
        .in = b->in, .cached = b->cached, .out = b->out, .reasoning = b->reasoning};
    const struct price *price = price_book_find(book, b->model);
    int64_t nano;

    if (memcmp(book->sha256, b->price_sha256, SHA256_LEN) != 0)
        return "It names other prices of that version than this book.";
    if (!price || price_amount(price, &t, b->coefficient, &nano) < 0)
        return "The price book has no price for it.";
    return b->amount <= nano ? NULL : "It charges more than the price book says.";
}

void proof_bill_bind(struct proof *p, struct proof_item *it)
{
    const struct proof_item *usage = it->has_bill ? usage_of(p, &it->bill) : NULL;
    const char *wrong = usage ? usage_misfit(&it->bill, usage) : NULL;

    if (!it->has_bill)
        return;
    it->usage_bound = usage && usage->good;
    for (size_t i = 0; i < p->count && !wrong; i++) {
        const struct price_book *book = p->items[i]->book;
        if (!book || book->version != it->bill.price)
            continue;
        wrong = price_misfit(&it->bill, book);
        it->price_checked = !wrong;
    }
    if (wrong)
        proof_find(it, false, "%s", wrong);
    else if (!proof_call_fits(it, it->bill.call))
        proof_find(it, false, "The file names another call beside it.");
}

/* ---- The day's tree ---- */

static int path_read(struct buf *path, const json_t *list)
{
    uint8_t hash[SHA256_LEN];

    if (!json_is_array(list) || json_array_size(list) > PATH_MAX_HASHES)
        return E_INVALID;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text))
            return E_INVALID;
        TRY(hex_decode(hash, sizeof(hash),
                       span_of(json_string_value(text), json_string_length(text))));
        buf_append(path, SPAN_OF(hash));
    }
    return 0;
}

static int tree_check(const struct proof_item *bill, struct span json)
{
    AUTO_JSON json_t *doc = NULL;
    AUTO(buf_fini) struct buf path = {0};
    uint8_t root[SHA256_LEN], leaf[SHA256_LEN];
    int64_t index, count;
    struct span hex;

    TRY(json_read(json, &doc));
    TRY(json_obj_int(doc, "leaf", 0, INT64_MAX, &index));
    TRY(json_obj_int(doc, "leaves", 1, INT64_MAX, &count));
    TRY(json_obj_string(doc, "root", &hex));
    TRY(hex_decode(root, sizeof(root), hex));
    TRY(path_read(&path, json_object_get(doc, "path")));
    tree_leaf(leaf, buf_span(&bill->bytes));
    return tree_verify(root, leaf, (uint64_t)index, (uint64_t)count, buf_span(&path));
}

void proof_tree_judge(struct proof *p, struct proof_item *it)
{
    (void)p;
    if (!it->of || !it->of->has_bill)
        proof_find(it, false, "No bill that holds stands beside it.");
    else if (tree_check(it->of, buf_span(&it->bytes)) < 0)
        proof_find(it, false, "The bill is no leaf of the tree with this root.");
    else
        proof_find(it, true, "The bill is a leaf of its day's tree.");
}
