/* RFC 9162 §2.1: a tree of n leaves is split at the largest power of two below n. */
#include "ledger/books/chain.h"

void chain_begin(uint8_t head[static SHA256_LEN], const char *account)
{
    const struct span parts[] = {SPAN("cgw/bill-chain/v1"), span_str(account)};

    sha256_parts(head, parts, 2);
}

void chain_add(uint8_t head[static SHA256_LEN], struct span bill)
{
    uint8_t hash[SHA256_LEN];
    const struct span parts[] = {span_of(head, SHA256_LEN), SPAN_OF(hash)};

    sha256(hash, bill);
    sha256_parts(head, parts, 2);
}

void tree_leaf(uint8_t out[static SHA256_LEN], struct span bytes)
{
    const struct span parts[] = {span_of("\0", 1), bytes};

    sha256_parts(out, parts, 2);
}

static void node(uint8_t out[static SHA256_LEN], const uint8_t *left, const uint8_t *right)
{
    const struct span parts[] = {SPAN("\1"), span_of(left, SHA256_LEN), span_of(right, SHA256_LEN)};

    sha256_parts(out, parts, 3);
}

// As many subtrees merge as the new count of leaves has zeros at its end.
void tree_add(struct tree *t, const uint8_t leaf[static SHA256_LEN])
{
    memcpy(t->stack[t->depth++], leaf, SHA256_LEN);
    t->leaves++;
    for (uint64_t n = t->leaves; (n & 1) == 0; n >>= 1) {
        t->depth--;
        node(t->stack[t->depth - 1], t->stack[t->depth - 1], t->stack[t->depth]);
    }
}

void tree_root(const struct tree *t, uint8_t out[static SHA256_LEN])
{
    if (t->depth == 0) {
        sha256(out, SPAN(""));
        return;
    }
    memcpy(out, t->stack[t->depth - 1], SHA256_LEN);
    for (unsigned i = t->depth - 1; i > 0; i--)
        node(out, t->stack[i - 1], out);
}

static uint64_t split_of(uint64_t count)
{
    return UINT64_C(1) << (63 - __builtin_clzll(count - 1));
}

static void range_root(uint8_t out[static SHA256_LEN], const uint8_t *leaves, uint64_t count)
{
    struct tree t = {0};

    for (uint64_t i = 0; i < count; i++)
        tree_add(&t, leaves + i * SHA256_LEN);
    tree_root(&t, out);
}

void tree_path(struct buf *out, const uint8_t *leaves, uint64_t count, uint64_t index)
{
    uint8_t sibling[SHA256_LEN];

    CHECK(index < count);
    if (count == 1)
        return;
    const uint64_t left = split_of(count);
    const uint8_t *right = leaves + left * SHA256_LEN;
    if (index < left) {
        tree_path(out, leaves, left, index);
        range_root(sibling, right, count - left);
    } else {
        tree_path(out, right, count - left, index - left);
        range_root(sibling, leaves, left);
    }
    buf_append(out, SPAN_OF(sibling));
}

int tree_verify(const uint8_t root[static SHA256_LEN], const uint8_t leaf[static SHA256_LEN],
                uint64_t index, uint64_t count, struct span path)
{
    uint8_t hash[SHA256_LEN];
    uint64_t at = index, last = count - 1;

    if (index >= count || path.len % SHA256_LEN != 0)
        return E_AUTH;
    memcpy(hash, leaf, SHA256_LEN);
    for (; path.len > 0; path = span_from(path, SHA256_LEN)) {
        if (last == 0)
            return E_AUTH;
        if ((at & 1) || at == last) {
            node(hash, path.data, hash);
            while (!(at & 1) && at != 0) {
                at >>= 1;
                last >>= 1;
            }
        } else {
            node(hash, hash, path.data);
        }
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && crypto_equal(SPAN_OF(hash), span_of(root, SHA256_LEN)) ? 0 : E_AUTH;
}
