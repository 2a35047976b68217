/* YAML as a small tree with positions: maps, lists and scalars only. Anchors, aliases, tags, merge
 * keys, several documents and duplicate names are refused; size, depth and count are bounded. */
#ifndef CONFIG_CONFIG_TREE_H
#define CONFIG_CONFIG_TREE_H

#include "base/arena.h"
#include "base/error.h"

enum { CONFIG_MAX_BYTES = 1 << 20, CONFIG_MAX_DEPTH = 16, CONFIG_MAX_NODES = 10000 };

enum config_kind { CONFIG_SCALAR, CONFIG_MAP, CONFIG_SEQUENCE };

struct config_place {
    size_t line, column; /* from 1 */
};

struct config_node {
    enum config_kind kind;
    struct config_place at;
    const char *text;             /* scalar: without a NUL inside */
    bool plain;                   /* scalar: written without quotes */
    const char *key;              /* its name when the parent is a map */
    struct config_place key_at;   /* where the name stands */
    size_t count;                 /* children of a map or list */
    struct config_node *children; /* the first; the others by next */
    struct config_node *next;
};

/* What is wrong and where: `what` is a constant, so that it never holds a value. */
struct config_problem {
    struct config_place at;
    const char *what;
};

/* The tree lives in the arena. *root is NULL for an empty file. E_INVALID fills `problem`. */
MUST_CHECK int config_tree_parse(struct arena *a, struct span text, struct config_node **root,
                                 struct config_problem *problem);

#endif
