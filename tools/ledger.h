/* The ledger's admin API, as commands use it. */
#ifndef TOOLS_LEDGER_H
#define TOOLS_LEDGER_H

#include "base/json.h"
#include "tools/command.h"

struct ledger_flags {
    const char *where;           /* unix:/path, https://host:port; "": none was named */
    const char *ca, *cert, *key; /* PEM files for https; NULL: none was named */
    bool json;
};

/* $COCOON_LEDGER, else the packaged ledger's socket; $COCOON_LEDGER_CA, _CERT and
 * _CERT_KEY. */
struct ledger_flags ledger_flags_default(void);
/* Whether $COCOON_LEDGER says that a ledger keeps the keys. */
bool ledger_is_named(void);

#define LEDGER_FLAGS(f)                                                                            \
    {"ledger", OPTION_TEXT, &(f).where,                                                            \
     "the ledger: unix:/path or https://host:port ($COCOON_LEDGER)"},                              \
        {"ca", OPTION_TEXT, &(f).ca, "https: whom to trust, PEM ($COCOON_LEDGER_CA)"},             \
        {"cert", OPTION_TEXT, &(f).cert, "https: our certificate, PEM ($COCOON_LEDGER_CERT)"},     \
        {"cert-key", OPTION_TEXT, &(f).key, "https: its key, PEM ($COCOON_LEDGER_CERT_KEY)"},      \
    {                                                                                              \
        "json", OPTION_FLAG, &(f).json, "print JSON"                                               \
    }

/* One request; body (may be NULL) is borrowed. -1 and *doc when it was answered with 2xx; else what
 * is wrong was printed, and the exit code. */
MUST_CHECK int ledger_ask(const struct command *c, const struct ledger_flags *f, const char *method,
                          const char *path, const json_t *body, json_t **doc);
/* The same with bytes both ways: `type` of the body, the answer appended to out. */
MUST_CHECK int ledger_send(const struct command *c, const struct ledger_flags *f,
                           const char *method, const char *path, const char *type, struct span body,
                           struct buf *out);

/* Appends a path with a parameter for each %s, percent-encoded: "/v1/projects/%s/%s". */
void ledger_path(struct buf *path, const char *fmt, char *const *parameters);
/* Appends "name=value" to a query when value is not empty. */
void ledger_query(struct buf *path, const char *name, const char *value);

/* Prints rows as JSON, or as a table of these columns. */
int ledger_print_rows(const struct ledger_flags *f, const json_t *rows, const char *const *columns,
                      size_t count);
/* Prints one object as JSON, or flat. */
int ledger_print(const struct ledger_flags *f, json_t *doc);
/* Asks as ledger_ask does and prints the object that is the answer. The command's exit code. */
int ledger_show(const struct command *c, const struct ledger_flags *f, const char *method,
                const char *path, const json_t *body);
/* One object with a secret, which is shown this once; quiet: the secret alone. */
int ledger_print_secret(const struct ledger_flags *f, json_t *doc, const char *member,
                        const char *what, bool quiet);

/* A whole command without options of its own: an operand for each %s of the path, one request, its
 * answer shown. take_body: NULL for none. */
int ledger_command(const struct command *c, int argc, char **argv, const char *method,
                   const char *fmt, json_t *take_body);

/* A whole command that lists: an operand for each %s of the path. */
struct ledger_listing {
    const char *path;
    const char *id; /* of a row, where the next page begins: "id", "account/id"; NULL: one page */
    const char *filter, *filter_help; /* an option, and the query's parameter; NULL: none */
    const char *const *columns;
    size_t count;
};
int ledger_list(const struct command *c, int argc, char **argv, const struct ledger_listing *l);

#endif
