/* What this build is. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

extern const char cocoon_version[]; /* "0.1.0" */
extern const char cocoon_commit[];  /* 12 hex digits of the git commit, or "unknown" */

#endif
