/* The dev platform's TCB levels, as the texts that collateral is made of and faults edit. */
#ifndef DEVTEE_LEVELS_H
#define DEVTEE_LEVELS_H

#include "devtee/issuer.h"

#define SINCE      "2025-01-01T00:00:00Z" /* DEVTEE_NOT_BEFORE */
#define UNTIL      "2045-01-01T00:00:00Z" /* DEVTEE_NOT_AFTER */
#define ENDED      "2025-01-02T00:00:00Z"
#define FUTURE     "2044-01-01T00:00:00Z"
#define EVALUATION "\"tcbEvaluationDataNumber\":18" /* DEVTEE_EVALUATION */

#define FMSPC "00DEC0DE0000"

#define ZEROES_5  "{\"svn\":0},{\"svn\":0},{\"svn\":0},{\"svn\":0},{\"svn\":0}"
#define ZEROES_8  ZEROES_5 ",{\"svn\":0},{\"svn\":0},{\"svn\":0}"
#define ZEROES_13 ZEROES_5 "," ZEROES_8

#define NEWEST_TDX "{\"svn\":5},{\"svn\":0},{\"svn\":2}," ZEROES_13

/* Of the platform's levels; dates tell them from those of module and quoting enclave. */
#define NEWEST_STATUS "\"tcbDate\":\"2025-03-12T00:00:00Z\",\"tcbStatus\":\""
#define OLD_STATUS    "\"tcbDate\":\"2024-03-13T00:00:00Z\",\"tcbStatus\":\""
#define OLDEST_STATUS "\"tcbDate\":\"2018-01-04T00:00:00Z\",\"tcbStatus\":\""

enum { LEVELS = 3, PCE_SVN = 11, COMPONENTS = 16 };

/* Components of PCK certificates at each level; the last row is below all. */
extern const uint8_t level_svns[LEVELS + 1][COMPONENTS];

#endif
