/* cocoonctl drain, ban, enable and decisions: what the operator wants of workers, written to Redis,
 * which all gateways obey within a second. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/random.h"
#include "tools/output.h"
#include "tools/registry.h"

enum { HEX_ID = 32, MR_LEN = 48 };

/* ---- Whom a decision is about ---- */

static bool is_hex(const char *text, size_t min, size_t max)
{
    const size_t n = strlen(text);

    return n >= min && n <= max && strspn(text, "0123456789abcdef") == n;
}

static const char *bad_subject(const char *subject)
{
    if (strncmp(subject, "wid:", 4) == 0)
        return is_hex(subject + 4, HEX_ID, HEX_ID) ? NULL : "wid: takes 32 hexadecimal digits";
    if (strncmp(subject, "ppid:", 5) == 0)
        return is_hex(subject + 5, 64, 64) ? NULL
                                           : "ppid: takes the SHA-256, 64 hexadecimal digits";
    const size_t n = strlen(subject + strlen("measurement:"));
    return n > 0 && n <= 2 * MR_LEN ? NULL
                                    : "measurement: takes an MRTD or the name of a policy's entry";
}

static bool is_subject(const char *which)
{
    return strncmp(which, "wid:", 4) == 0 || strncmp(which, "ppid:", 5) == 0 ||
           strncmp(which, "measurement:", 12) == 0;
}

/* Decided of a worker by that label, iid or beginning of it, which may have left since. */
static bool is_of_worker(json_t *said, const char *which)
{
    const char *label = shown_text(said, "label");

    return (*label && strcmp(which, label) == 0) || registry_begins(which, shown_text(said, "iid"));
}

/* The one name in `map` that is `which`, or begins with it (behind its kind), or was decided of a
 * worker that is `which`; NULL. */
static const char *find_decided(json_t *map, const char *which)
{
    const char *name, *found = NULL;
    json_t *value;

    json_object_foreach(map, name, value) {
        const char *bare = strchr(name, ':') ? strchr(name, ':') + 1 : name;
        if (strcmp(name, which) == 0 || strcmp(bare, which) == 0)
            return name;
        if (registry_begins(which, bare) || is_of_worker(value, which))
            found = found ? "" : name;
    }
    return found && *found ? found : NULL;
}

/* ---- Deciding ---- */

struct decided {
    const struct command *command;
    struct registry_view view;
    const char *why;
    json_t *worker; /* of which it is decided: iid and label; NULL: none was named */
    struct operands operands;
};

static void decided_fini(struct decided *d)
{
    json_decref(d->worker);
    registry_view_fini(&d->view);
}
AUTO_FINI(struct decided, decided_fini)

/* Reads options and registry; -1: go on. */
static int begin(struct decided *d, const struct command *c, int argc, char **argv)
{
    d->command = c;
    d->view.redis = redis_flags_default();
    d->why = "";
    const struct option options[] = {
        REDIS_FLAGS(d->view.redis){"why", OPTION_TEXT, &d->why, "a note for people"},
        {"json", OPTION_FLAG, &d->view.json, "print JSON"}};
    const int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &d->operands);

    return code >= 0 ? code : registry_view_open(&d->view, c);
}

static const char *who(void)
{
    const char *sudo = getenv("SUDO_USER"), *user = getenv("USER");

    return sudo && *sudo ? sudo : user ? user : "";
}

/* The mark by which a gateway tells an emptied hash from a lost one. */
static void send_epoch(struct pool_store *s, const char *key)
{
    uint8_t drawn[8];
    char epoch[2 * sizeof(drawn) + 1];

    random_bytes(drawn, sizeof(drawn));
    hex_encode(epoch, SPAN_OF(drawn));
    pool_store_send(s,
                    (struct span[]){SPAN("HSETNX"), span_str(key), SPAN("epoch"), span_str(epoch)},
                    4, NULL, NULL);
}

static int publish(struct decided *d)
{
    TRY(pool_store_settle(d->view.store, 0));
    pool_store_send(d->view.store,
                    (struct span[]){SPAN("PUBLISH"), SPAN("pool:changed"), SPAN("decided")}, 3,
                    NULL, NULL);
    return pool_store_settle(d->view.store, 0);
}

static int write_decision(struct decided *d, const char *key, const char *subject)
{
    AUTO_JSON json_t *value =
        json_pack("{s:s, s:s, s:s, s:I}", "format", "cgw/decision/v1", "why", d->why, "by", who(),
                  "at", (json_int_t)(clock_wall_ms() / 1000));

    if (!value)
        return E_INVALID; /* the note is no UTF-8 */
    if (d->worker && json_object_update(value, d->worker) < 0)
        return E_INVALID;
    char *text = json_dumps(value, JSON_COMPACT);
    if (!text)
        return E_INVALID;
    send_epoch(d->view.store, key);
    pool_store_send(d->view.store,
                    (struct span[]){SPAN("HSET"), span_str(key), span_str(subject), span_str(text)},
                    4, NULL, NULL);
    free(text);
    return publish(d);
}

static int tell(const struct decided *d, int error, const char *done, const char *subject)
{
    if (error < 0)
        return pool_store_failure(d->command, error);
    if (d->view.json) {
        AUTO_JSON json_t *said = json_pack("{s:s}", done, subject);
        json_print(said);
    } else {
        printf("%s %s.\n", subject, done);
    }
    return EXIT_DONE;
}

static void name_worker(struct decided *d, const json_t *w)
{
    d->worker =
        json_pack("{s:s, s:s}", "iid", shown_text(w, "iid"), "label", shown_text(w, "label"));
}

static int decide_drain(const struct command *c, int argc, char **argv)
{
    AUTO(decided_fini) struct decided d = {0};
    const int code = begin(&d, c, argc, argv);
    const char *iid;

    if (code >= 0)
        return code;
    iid = d.operands.items[0];
    if (!is_hex(iid, HEX_ID, HEX_ID)) {
        const json_t *w = registry_find(c, d.view.registry, iid);
        if (!w)
            return EXIT_FAILED;
        iid = shown_text(w, "iid");
        name_worker(&d, w);
    }
    return tell(&d, write_decision(&d, "drain", iid), "drained", iid);
}

/* wid:… of a worker; NULL with the reason said. */
static const char *wid_subject(struct decided *d, const char *which, char out[static HEX_ID + 5])
{
    AUTO_JSON json_t *known = NULL;
    const json_t *w = NULL;

    if (is_hex(which, HEX_ID, HEX_ID) && registry_worker(d->view.store, which, &known) == 0)
        w = known; /* it may have left */
    if (!w)
        w = registry_find(d->command, d->view.registry, which);
    if (!w)
        return NULL;
    name_worker(d, w);
    snprintf(out, HEX_ID + 5, "wid:%.32s", shown_text(w, "wid"));
    return out;
}

static int decide_ban(const struct command *c, int argc, char **argv)
{
    AUTO(decided_fini) struct decided d = {0};
    const int code = begin(&d, c, argc, argv);
    char wid[HEX_ID + 5];
    const char *subject;

    if (code >= 0)
        return code;
    subject = d.operands.items[0];
    if (!is_subject(subject))
        subject = wid_subject(&d, subject, wid);
    else if (bad_subject(subject))
        return usage_error(c, "%s", bad_subject(subject));
    if (!subject)
        return EXIT_FAILED;
    return tell(&d, write_decision(&d, "ban", subject), "banned", subject);
}

static int take_back(struct decided *d, const char *key, const char *name)
{
    if (!name)
        return 0;
    send_epoch(d->view.store, key);
    pool_store_send(d->view.store, (struct span[]){SPAN("HDEL"), span_str(key), span_str(name)}, 3,
                    NULL, NULL);
    return publish(d);
}

/* The decisions about a worker that is here, or was: drained by its iid, banned by its wid. */
static void find_by_worker(struct decided *d, const char *which, const char **drained,
                           const char **banned)
{
    const json_t *list = json_object_get(d->view.registry, "workers");
    char wid[HEX_ID + 5];

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *w = json_array_get(list, i);
        if (!registry_begins(which, shown_text(w, "iid")) &&
            strcmp(which, shown_text(w, "label")) != 0)
            continue;
        snprintf(wid, sizeof(wid), "wid:%.32s", shown_text(w, "wid"));
        if (!*drained)
            *drained =
                find_decided(json_object_get(d->view.registry, "drain"), shown_text(w, "iid"));
        if (!*banned)
            *banned = find_decided(json_object_get(d->view.registry, "ban"), wid);
    }
}

static int decide_enable(const struct command *c, int argc, char **argv)
{
    AUTO(decided_fini) struct decided d = {0};
    AUTO_JSON json_t *known = NULL;
    const int code = begin(&d, c, argc, argv);
    char wid[HEX_ID + 5];

    if (code >= 0)
        return code;
    const char *which = d.operands.items[0];
    const char *drained = find_decided(json_object_get(d.view.registry, "drain"), which);
    const char *banned = find_decided(json_object_get(d.view.registry, "ban"), which);
    find_by_worker(&d, which, &drained, &banned);
    if (!banned && is_hex(which, HEX_ID, HEX_ID) &&
        registry_worker(d.view.store, which, &known) == 0 && known) {
        snprintf(wid, sizeof(wid), "wid:%.32s", shown_text(known, "wid"));
        banned = find_decided(json_object_get(d.view.registry, "ban"), wid);
    }
    if (!drained && !banned)
        return failure(c, "nothing is decided about \"%s\" (cocoonctl decisions)", which);
    int error = take_back(&d, "drain", drained);
    if (error == 0)
        error = take_back(&d, "ban", banned);
    return tell(&d, error, "enabled", banned ? banned : drained);
}

/* ---- decisions ---- */

static void decision_rows(struct table *t, const char *what, json_t *map)
{
    char at[TIME_TEXT_LEN];
    const char *name;
    json_t *said;

    json_object_foreach(map, name, said) {
        time_text(at, shown_time(said, "at"));
        table_row(
            t, 5,
            (const char *const[]){what, name, at, shown_text(said, "by"), shown_text(said, "why")});
    }
}

static int decide_list(const struct command *c, int argc, char **argv)
{
    AUTO(registry_view_fini) struct registry_view v = {0};
    struct table t = {0};
    const int code = registry_view_begin(&v, c, argc, argv);

    if (code >= 0)
        return code;
    if (v.json) {
        AUTO_JSON json_t *both =
            json_pack("{s:O, s:O}", "drain", json_object_get(v.registry, "drain"), "ban",
                      json_object_get(v.registry, "ban"));
        json_print(both);
        return EXIT_DONE;
    }
    table_row(&t, 5, (const char *const[]){"decision", "subject", "since", "by", "why"});
    decision_rows(&t, "drain", json_object_get(v.registry, "drain"));
    decision_rows(&t, "ban", json_object_get(v.registry, "ban"));
    table_print(&t);
    table_free(&t);
    return EXIT_DONE;
}

const struct command decide_commands[] = {
    {"drain", "", "WORKER", "Give a worker nothing new, at every gateway; what runs is finished.",
     decide_drain},
    {"ban", "", "WORKER|SUBJECT",
     "Cut a machine (wid:, ppid:) or an image (measurement:) off, at once.", decide_ban},
    {"enable", "", "WORKER|SUBJECT", "Take a drain or a ban back.", decide_enable},
    {"decisions", "", "", "Drains and bans in force.", decide_list},
    {NULL, NULL, NULL, NULL, NULL},
};
