/* The books' tables, by versions: each step is run once, in order, in a transaction of its own. */
#ifndef LEDGER_BOOKS_SCHEMA_H
#define LEDGER_BOOKS_SCHEMA_H

#include "ledger/books/db.h"

/* Runs the steps that are missing. E_UNSUPPORTED: a newer program wrote these books; E_IO. */
MUST_CHECK int schema_migrate(struct db *s);
/* 0 when the books have exactly this program's schema, else E_UNSUPPORTED. */
MUST_CHECK int schema_check(struct db *s);

#endif
