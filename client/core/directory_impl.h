/* The directory's parts: lists of models, keys, searches. Inside client/core. */
#ifndef CLIENT_CORE_DIRECTORY_IMPL_H
#define CLIENT_CORE_DIRECTORY_IMPL_H

#include "base/map.h"
#include "client/core/directory.h"

struct directory {
    struct client *client;
    struct map models; /* name → struct model_entry */
    struct map keys;   /* kfp → struct key_entry */
    struct list searches;
    struct conversations conversations;
};

struct model_entry {
    struct directory *directory;
    char name[MODEL_LEN + 1];
    struct worker_list list;
    bool fetched, failed;
    uint64_t fetched_ms, failed_ms; /* the loop's clock */
    struct api_fault fault;         /* of the last failure */
    struct http_whole answer;
};

struct verify_job;

struct key_entry {
    struct directory *directory;
    uint8_t kfp[KFP_LEN];
    struct verified *verified; /* NULL: not yet, or refused; may have run out */
    struct errands *errands;   /* of the worker that it belonged to last; NULL: none yet */
    const char *refusal;       /* a sentence; NULL: never refused */
    char refusal_text[320];
    uint64_t again_ms; /* a refused key is not looked at before */
    bool busy;         /* its document is fetched or verified */
    struct http_whole document;
    struct verify_job *job;
};

struct search {
    struct directory *directory;
    struct directory_ask ask;
    struct model_entry *model;
    uint64_t begun_ms;
    directory_fn *fn;
    void *arg;
    struct loop_timer timer; /* its first look, then its deadline */
    struct list link;
};

/* directory.c */
void errands_unref(struct errands *e);
void searches_look(struct directory *d);
struct model_entry *model_get(struct directory *d, struct span name);
void list_fetch(struct model_entry *m);

/* keys.c: NULL when there are too many keys. */
struct key_entry *key_get(struct directory *d, const uint8_t kfp[static KFP_LEN]);
/* Fetches and verifies, unless that is going on or was refused lately. True when it goes on. */
bool key_begin(struct key_entry *k);
/* It was verified; takes v, which has no errands yet. */
void key_take_verified(struct key_entry *k, struct verified *v);
void key_forget(struct directory *d, const uint8_t kfp[static KFP_LEN]);
void keys_rejudge(struct directory *d);
void keys_free(struct directory *d);

#endif
