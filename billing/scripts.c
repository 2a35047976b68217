/* The texts of billing/lua inside of the program: common.lua in front of each. */
#include "billing/scripts.h"

/* Built from the project's root, as every path here. */
#define LUA_TEXT(name, common)                                                                     \
    __asm__(".pushsection .rodata\n"                                                               \
            "lua_" #name ":\n" common ".incbin \"billing/lua/" #name ".lua\"\n"                    \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char lua_##name[] __attribute__((visibility("hidden")))
#define LUA(name)       LUA_TEXT(name, ".incbin \"billing/lua/common.lua\"\n")
#define LUA_ALONE(name) LUA_TEXT(name, "")

LUA_ALONE(admit);
LUA_ALONE(field);
LUA_ALONE(mark);
LUA_ALONE(keep);
LUA_ALONE(budgets);
LUA(settle);
LUA(release);
LUA(expire);
LUA(due);
LUA(attempt);
LUA(assert);
LUA(account);
LUA(restore);

void billing_scripts_init(struct billing_scripts *s)
{
    redis_script_init(&s->admit, "admit", lua_admit, 3);
    redis_script_init(&s->settle, "settle", lua_settle, 3);
    redis_script_init(&s->release, "release", lua_release, 3);
    redis_script_init(&s->expire, "expire", lua_expire, 3);
    redis_script_init(&s->due, "due", lua_due, 1);
    redis_script_init(&s->attempt, "attempt", lua_attempt, 1);
    redis_script_init(&s->assert, "assert", lua_assert, 2);
    redis_script_init(&s->account, "account", lua_account, 1);
    redis_script_init(&s->mark, "mark", lua_mark, 2);
    redis_script_init(&s->keep, "keep", lua_keep, 3);
    redis_script_init(&s->field, "field", lua_field, 1);
    redis_script_init(&s->budgets, "budgets", lua_budgets, 1);
}

void billing_restore_init(struct redis_script *s, unsigned numkeys)
{
    redis_script_init(s, "restore", lua_restore, numkeys);
}
