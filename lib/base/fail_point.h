/* Named places where a test may kill the process, as a power cut would. Without COCOON_FAIL_AT in
 * the environment they do nothing. */
#ifndef BASE_FAIL_POINT_H
#define BASE_FAIL_POINT_H

/* SIGKILL to ourselves when COCOON_FAIL_AT is `name`, or `name:n` in the n-th time it is passed.
 * Any thread. */
void fail_point(const char *name);

#endif
