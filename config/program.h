/* How every program of ours begins: --config, --check, --help, --version, and its settings read. */
#ifndef CONFIG_PROGRAM_H
#define CONFIG_PROGRAM_H

#include "config/config.h"

/* Exit status for a wrong command line or wrong settings. */
enum { PROGRAM_USAGE = 2 };

struct program {
    const char *usage;   /* what --help prints before the settings */
    const char *example; /* a file of settings to begin with */
    const struct config_table *settings;
};

/* The `usage` of a program that has these options alone; `signals` is what it does at which. */
#define PROGRAM_OPTIONS(name, signals)                                                             \
    "usage: " name " --config FILE [--check]\n"                                                    \
    "\n"                                                                                           \
    "  --config FILE  settings (YAML), see below\n"                                                \
    "  --check        read the settings, say what is wrong with them, and leave\n"                 \
    "  --help         this text\n"                                                                 \
    "  --version      version and commit\n"                                                        \
    "\n"                                                                                           \
    "Signals: " signals "\n"

/* Reads the command line and the settings. -1: go on, with *config to be unref'd and *file as given
 * (borrowed of argv). Else the exit status: all is said. */
int program_begin(const struct program *p, int argc, char **argv, struct config_snapshot **config,
                  const char **file);

/* "NAME VERSION (commit COMMIT)" on stdout. */
void program_version(const struct program *p);
/* The usage, then the settings. */
void program_help(const struct program *p);
/* Says on stderr what is wrong with the command line, and where help is. Returns PROGRAM_USAGE. */
int program_misused(const struct program *p, const char *why);

#endif
