/* What an answer has said, as far as a gateway sees it: pieces and bytes of text, and of what kind.
 * It is what a worker's count of tokens is held against (usual.h). Nothing of the text is kept. */
#ifndef BILLING_SAID_H
#define BILLING_SAID_H

#include "base/span.h"

/* How many tokens a byte of text has depends on what it is: each kind is learned by itself. */
enum said_kind {
    SAID_PLAIN,        /* letters and spaces of ASCII */
    SAID_ACCENTED,     /* some of it is not ASCII */
    SAID_SYMBOLS,      /* code, JSON, capitals */
    SAID_DIGITS,       /* tables of numbers */
    SAID_TWO,          /* mostly of two bytes a letter: Cyrillic, Greek, Arabic, Hebrew */
    SAID_WIDE,         /* mostly of three or four: Chinese, Japanese, Korean, Indic, emoji */
    SAID_SEALED,       /* a stream that only the client can read */
    SAID_SEALED_WHOLE, /* the same of an answer in few pieces */
    SAID_KINDS
};

enum { SAID_NAME_MAX = 20 };

/* Embedded; {0} before the first byte. The counts are to be read, the rest is said_feed's. */
struct said {
    uint64_t pieces;    /* of text, none of them empty: a stream has one in each event */
    uint64_t bytes;     /* of text in UTF-8, calls of tools in it */
    uint64_t reasoning; /* of these */
    uint64_t tools;     /* that are called */
    uint64_t symbols, digits, two, wide; /* bytes by kind */

    enum { SAID_OUTSIDE, SAID_STRING } state;
    bool is_value, text, thought, begun; /* of this string: which it is; it had a byte */
    bool colon;                          /* stands before what comes */
    bool escaped;
    unsigned hex_left, hex;
    size_t name_len; /* of the last member's name, or of this one as far as it has come */
    char name[SAID_NAME_MAX];
};

/* Reads on in an answer as the worker made it for clients: server-sent events, or one JSON body,
 * cut anywhere. Any bytes do; what is not of that form counts as it happens to. */
void said_feed(struct said *s, struct span bytes);
enum said_kind said_kind(const struct said *s);

#endif
