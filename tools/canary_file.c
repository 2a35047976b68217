/* Checks across a file's settings, and the writing of its items. */
#include "tools/canary_file.h"

#include <sys/stat.h>

/* A count that cannot be would make every worker wrong. */
static int check_canary(const struct canary *c, size_t at, const char *file, struct buf *why)
{
    for (size_t i = 0; i < c->answers.count; i++) {
        if (canary_answer_at(c, i)->tokens <= c->max_tokens)
            continue;
        buf_printf(why, "%s: canaries[%zu].answers[%zu].tokens: is above max_tokens", file, at, i);
        return E_INVALID;
    }
    return 0;
}

/* Who knows the prompts can tell a canary from a user. */
static int check_private(const char *file, struct buf *why)
{
    struct stat st;

    if (stat(file, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & S_IRWXO))
        return 0;
    buf_printf(why, "%s: others than its owner and group may read it (chmod o= %s)", file, file);
    return E_DENIED;
}

int canary_file_load(struct config_snapshot **out, const char *file, struct buf *why)
{
    struct config_snapshot *s;
    int error = 0;

    TRY(check_private(file, why));
    TRY(config_load(&s, &canaries_config_table, file, why));
    const struct canaries_config *f = s->values;
    for (size_t i = 0; error == 0 && i < f->canaries.count; i++)
        error = check_canary(canary_at(f, i), i, file, why);
    if (error < 0)
        config_unref(s);
    else
        *out = s;
    return error;
}

/* ---- Writing ---- */

/* Bytes at the beginning of s that are one character which YAML takes as no part of a text, or as a
 * line's end (YAML 1.1 §5.1): DEL and C1, U+2028, U+2029, U+FEFF, U+FFFE, U+FFFF. 0: another one.
 */
static size_t odd_character(struct span s, unsigned *code)
{
    const uint8_t *d = s.data;

    if (d[0] == 0x7f) {
        *code = 0x7f;
        return 1;
    }
    if (s.len >= 2 && d[0] == 0xc2 && d[1] < 0xa0) {
        *code = d[1];
        return 2;
    }
    if (s.len < 3 || (d[0] & 0xf0) != 0xe0)
        return 0;
    *code = (d[0] & 0x0fU) << 12 | (d[1] & 0x3fU) << 6 | (d[2] & 0x3fU);
    const bool odd = *code == 0x2028 || *code == 0x2029 || *code == 0xfeff || *code >= 0xfffe;
    return odd ? 3 : 0;
}

/* A string of JSON is one of YAML, but for a few characters. */
static void write_text(struct buf *out, const char *before, const char *text)
{
    AUTO(buf_wipe) struct buf json = {0};
    unsigned code;

    buf_json_escape(&json, span_str(text));
    buf_printf(out, "%s\"", before);
    for (struct span s = buf_span(&json); s.len > 0;) {
        const size_t odd = odd_character(s, &code);
        if (odd)
            buf_printf(out, "\\u%04x", code);
        else
            buf_byte(out, s.data[0]);
        s = span_from(s, odd ? odd : 1);
    }
    buf_append_str(out, "\"\n");
}

static void write_number(struct buf *out, const char *name, int64_t n)
{
    if (n > 0)
        buf_printf(out, "    %s: %lld\n", name, (long long)n);
}

void canary_write(const struct canary *c, struct buf *out)
{
    write_text(out, "  - model: ", c->model);
    if (*c->system)
        write_text(out, "    system: ", c->system);
    write_text(out, "    prompt: ", c->prompt);
    write_number(out, "max_tokens", c->max_tokens);
    write_number(out, "prompt_tokens", c->prompt_tokens);
    write_number(out, "prefix", c->prefix);
    write_number(out, "tolerance", c->tolerance);
    buf_printf(out, "    answers:%s\n", c->answers.count ? "" : " []");
    for (size_t i = 0; i < c->answers.count; i++) {
        write_text(out, "      - text: ", canary_answer_at(c, i)->text);
        buf_printf(out, "        tokens: %lld\n", (long long)canary_answer_at(c, i)->tokens);
    }
}
