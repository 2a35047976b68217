/* Who waits, whose turn it is, and what is said to those for whom there is no room. */
#include "virtual.h"

#include <time.h>

#include "queue_model.h"

enum { ITEMS = 2000 };

struct line {
    struct queue *queue;
    struct queue_options options;
    struct queue_item items[ITEMS];
    struct queue_claim claims[ITEMS];
    size_t count;
    uint64_t now_ms;
};

static struct line *line_new(void)
{
    struct line *l = mem_zero(sizeof(*l));

    l->queue = queue_new();
    l->options = (struct queue_options){.longest_ms = 20000};
    l->now_ms = 1000000;
    return l;
}

static void line_free(struct line *l)
{
    for (size_t i = 0; i < l->count; i++)
        queue_leave(&l->items[i]);
    queue_free(l->queue);
    free(l);
}

static size_t claim(struct line *l, enum service_class class, const char *account)
{
    l->claims[l->count] = (struct queue_claim){
        .class = class, .account = span_str(account), .deadline_ms = l->now_ms + 600000};
    assert_true(l->count + 1 < ITEMS);
    return l->count++;
}

static size_t enter(struct line *l, enum service_class class, const char *account)
{
    const size_t i = claim(l, class, account);

    assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &l->options, l->now_ms),
                     QUEUE_TAKEN);
    return i;
}

static size_t start(struct line *l, enum service_class class, const char *account)
{
    const size_t i = claim(l, class, account);

    queue_start(l->queue, &l->items[i], &l->claims[i], l->now_ms);
    return i;
}

/* The next one gets a slot. */
static size_t turn(struct line *l)
{
    queue_round(l->queue);
    struct queue_item *it = queue_best(l->queue);
    const size_t i = (size_t)(it - l->items);

    assert_non_null(it);
    queue_start(l->queue, it, &l->claims[i], l->now_ms);
    return i;
}

static void classes_have_their_order(void **state)
{
    struct line *l = line_new();

    (void)state;
    const size_t batch = enter(l, CLASS_BATCH, "a"), usual = enter(l, CLASS_INTERACTIVE, "a"),
                 urgent = enter(l, CLASS_INTERNAL, "a");
    assert_int_equal(queue_waiting(l->queue, CLASS_BATCH), 1);
    assert_int_equal(queue_before(l->queue, CLASS_INTERNAL), 1);
    assert_int_equal(queue_before(l->queue, CLASS_INTERACTIVE), 2);
    assert_int_equal(queue_before(l->queue, CLASS_BATCH), 3);
    assert_int_equal(turn(l), urgent);
    assert_int_equal(turn(l), usual);
    assert_int_equal(turn(l), batch);
    assert_int_equal(queue_length(l->queue), 0);
    assert_int_equal(queue_running(l->queue), 3);
    line_free(l);
}

static void of_one_account_the_earliest_deadline_goes_first(void **state)
{
    struct line *l = line_new();
    const uint64_t after[] = {9000, 3000, 6000, 3000};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        claim(l, CLASS_INTERACTIVE, "a");
        l->claims[i].deadline_ms = l->now_ms + after[i];
        assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &l->options, l->now_ms),
                         QUEUE_TAKEN);
    }
    const size_t order[] = {1, 3, 2, 0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(turn(l), order[i]);
    line_free(l);
}

static void an_account_that_asks_for_more_gets_no_more(void **state)
{
    struct line *l = line_new();
    size_t greedy = 0, modest = 0;

    (void)state;
    for (int i = 0; i < 100; i++)
        enter(l, CLASS_INTERACTIVE, "greedy");
    for (int i = 0; i < 10; i++)
        enter(l, CLASS_INTERACTIVE, "modest");
    for (int i = 0; i < 20; i++) {
        const size_t got = turn(l);
        *(got < 100 ? &greedy : &modest) += 1;
    }
    assert_int_equal(greedy, 10);
    assert_int_equal(modest, 10);
    line_free(l);
}

/* Who holds all slots when the queue begins waits until others have as many. */
static void what_runs_already_counts(void **state)
{
    struct line *l = line_new();

    (void)state;
    for (int i = 0; i < 8; i++)
        start(l, CLASS_INTERACTIVE, "greedy");
    enter(l, CLASS_INTERACTIVE, "greedy");
    for (int i = 0; i < 8; i++)
        enter(l, CLASS_INTERACTIVE, "modest");
    for (int i = 0; i < 8; i++)
        assert_true(turn(l) > 8);
    assert_int_equal(turn(l), 8);
    line_free(l);
}

static void one_slot_goes_round(void **state)
{
    struct line *l = line_new();
    size_t turns[3] = {0};
    static const char *const names[] = {"a", "b", "c"};

    (void)state;
    for (int i = 0; i < 90; i++)
        enter(l, CLASS_INTERACTIVE, names[i / 30]);
    for (int i = 0; i < 30; i++) {
        const size_t got = turn(l);
        turns[got / 30]++;
        queue_done(&l->items[got], l->now_ms);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(turns[i], 10);
    line_free(l);
}

/* Newcomers that ask once do not push aside who was served before. */
static void among_accounts_that_ask_once_it_is_first_come_first_served(void **state)
{
    struct line *l = line_new();
    char names[200][8];

    (void)state;
    for (size_t i = 0; i < 200; i++)
        snprintf(names[i], sizeof(names[i]), "a%zu", i);
    size_t last = enter(l, CLASS_INTERACTIVE, names[0]);
    enter(l, CLASS_INTERACTIVE, names[1]);
    for (size_t i = 2; i < 200; i++) { /* two wait all the time */
        const size_t got = turn(l);
        assert_int_equal(got, i - 2);
        queue_done(&l->items[got], l->now_ms);
        last = enter(l, CLASS_INTERACTIVE, names[i]);
    }
    const size_t again = enter(l, CLASS_INTERACTIVE, names[0]); /* it was served long ago */
    enter(l, CLASS_INTERACTIVE, "new");
    assert_int_equal(turn(l), last - 1);
    assert_int_equal(turn(l), last);
    assert_int_equal(turn(l), again);
    line_free(l);
}

static void weights_are_shares(void **state)
{
    struct line *l = line_new();
    size_t heavy = 0;

    (void)state;
    for (int i = 0; i < 120; i++) {
        claim(l, CLASS_INTERACTIVE, i < 60 ? "heavy" : "light");
        l->claims[i].weight = i < 60 ? 3 : 1;
        assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &l->options, l->now_ms),
                         QUEUE_TAKEN);
    }
    for (int i = 0; i < 40; i++)
        heavy += turn(l) < 60 ? 1 : 0;
    assert_int_equal(heavy, 30);
    line_free(l);
}

static void who_cannot_go_now_lets_others_pass(void **state)
{
    struct line *l = line_new();

    (void)state;
    const size_t a = enter(l, CLASS_INTERACTIVE, "a"), b = enter(l, CLASS_INTERACTIVE, "a"),
                 c = enter(l, CLASS_INTERACTIVE, "c"), d = enter(l, CLASS_BATCH, "d");
    const size_t order[] = {a, b, c, d};
    queue_round(l->queue);
    for (size_t i = 0; i < 4; i++) {
        struct queue_item *it = queue_best(l->queue);
        assert_ptr_equal(it, &l->items[order[i]]);
        queue_pass(it);
    }
    assert_null(queue_best(l->queue));
    queue_round(l->queue);
    assert_ptr_equal(queue_best(l->queue), &l->items[a]);
    line_free(l);
}

/* An account of which one was passed over and the last has been served, or has left. */
static void who_was_passed_over_holds_up_nobody_when_the_last_of_its_account_goes(void **state)
{
    (void)state;
    for (int leaves = 0; leaves < 2; leaves++) {
        struct line *l = line_new();
        const size_t a = enter(l, CLASS_INTERACTIVE, "x"), b = enter(l, CLASS_INTERACTIVE, "x"),
                     c = enter(l, CLASS_INTERACTIVE, "y"), d = enter(l, CLASS_BATCH, "y");
        queue_round(l->queue);
        assert_ptr_equal(queue_best(l->queue), &l->items[a]);
        queue_pass(&l->items[a]);
        assert_ptr_equal(queue_best(l->queue), &l->items[b]);
        if (leaves)
            queue_leave(&l->items[b]);
        else
            queue_start(l->queue, &l->items[b], &l->claims[b], l->now_ms);
        assert_ptr_equal(queue_best(l->queue), &l->items[c]);
        queue_start(l->queue, &l->items[c], &l->claims[c], l->now_ms);
        assert_ptr_equal(queue_best(l->queue), &l->items[d]);
        queue_pass(&l->items[d]);
        assert_null(queue_best(l->queue));
        queue_round(l->queue);
        assert_ptr_equal(queue_best(l->queue), &l->items[a]);
        line_free(l);
    }
}

static size_t best(struct line *l)
{
    const struct queue_item *it = queue_best(l->queue);

    assert_non_null(it);
    return (size_t)(it - l->items);
}

static size_t enter_by(struct line *l, uint64_t after_ms)
{
    const size_t i = claim(l, CLASS_INTERACTIVE, "a");

    l->claims[i].deadline_ms = l->now_ms + after_ms;
    assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &l->options, l->now_ms),
                     QUEUE_TAKEN);
    return i;
}

static void who_enters_during_a_round_has_its_turn_in_it(void **state)
{
    struct line *l = line_new();

    (void)state;
    const size_t a = enter_by(l, 3000), b = enter_by(l, 6000), c = enter_by(l, 9000);
    queue_round(l->queue);
    assert_int_equal(best(l), a);
    queue_pass(&l->items[a]);
    assert_int_equal(best(l), b);
    queue_pass(&l->items[b]);
    const size_t first = enter_by(l, 1000), middle = enter_by(l, 5000), last = enter_by(l, 10000);
    const size_t order[] = {first, middle, c};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(best(l), order[i]);
        queue_pass(&l->items[order[i]]);
    }
    assert_int_equal(best(l), last);
    queue_leave(&l->items[last]);
    assert_null(queue_best(l->queue));
    queue_round(l->queue);
    assert_int_equal(best(l), first);
    line_free(l);
}

static void who_leaves_during_a_round_holds_up_nobody(void **state)
{
    struct line *l = line_new();

    (void)state;
    const size_t a = enter_by(l, 1000), b = enter_by(l, 2000), c = enter_by(l, 3000),
                 d = enter_by(l, 4000), e = enter_by(l, 5000);
    queue_round(l->queue);
    assert_int_equal(best(l), a);
    queue_pass(&l->items[a]);
    assert_int_equal(best(l), b);
    queue_leave(&l->items[b]); /* whose turn it is */
    assert_int_equal(best(l), c);
    queue_leave(&l->items[a]); /* passed over */
    queue_leave(&l->items[d]); /* not yet */
    assert_int_equal(best(l), c);
    queue_pass(&l->items[c]);
    assert_int_equal(best(l), e);
    const size_t again = enter_by(l, 4500);
    assert_int_equal(best(l), again);
    queue_leave(&l->items[again]);
    assert_int_equal(best(l), e);
    queue_pass(&l->items[e]);
    assert_null(queue_best(l->queue));
    queue_round(l->queue);
    assert_int_equal(best(l), c);
    queue_leave(&l->items[c]);
    queue_leave(&l->items[e]);
    assert_null(queue_best(l->queue));
    const size_t next = enter_by(l, 1000); /* when all before it have gone */
    assert_int_equal(best(l), next);
    line_free(l);
}

/* In a long line nobody is looked at again for each one behind, though others enter and leave. Of
 * this thread's own time; the bound is wide, since under a sanitizer all takes longer. */
static void a_round_costs_each_who_waits_the_same_however_many_they_are(void **state)
{
    enum { CROWD = 60000, EVERY = 100, NEW = CROWD / EVERY };
    struct queue *q = queue_new();
    struct queue_item *items = mem_zero((CROWD + NEW) * sizeof(*items)), *it;
    const struct queue_options o = {.longest_ms = 20000};
    struct queue_claim c = {.class = CLASS_BATCH, .account = SPAN("a")};
    size_t passed = 0, entered = 0;

    (void)state;
    for (; entered < CROWD; entered++) {
        c.deadline_ms = 100000 + entered;
        assert_int_equal(queue_enter(q, &items[entered], &c, &o, 1000), QUEUE_TAKEN);
    }
    const clock_t begin = clock();
    queue_round(q);
    for (; (it = queue_best(q)) != NULL; passed++) {
        queue_pass(it);
        if (passed % EVERY == 0 && entered < CROWD + NEW) {
            c.deadline_ms = 100000 + 2 * entered; /* behind all others */
            assert_int_equal(queue_enter(q, &items[entered++], &c, &o, 1000), QUEUE_TAKEN);
            queue_leave(&items[passed]);
        }
    }
    const double took_s = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_int_equal(passed, CROWD + NEW);
    assert_true(took_s < 0.4);
    for (size_t i = 0; i < entered; i++)
        queue_leave(&items[i]);
    queue_free(q);
    free(items);
}

/* Nor is each account looked at again for each other one. */
static void a_round_costs_each_account_the_same_however_many_they_are(void **state)
{
    enum { CROWD = 30000 };
    struct queue *q = queue_new();
    struct queue_item *items = mem_zero(CROWD * sizeof(*items)), *it;
    const struct queue_options o = {.longest_ms = 20000, .at_once = true};
    size_t passed = 0;
    char name[24];

    (void)state;
    for (size_t i = 0; i < CROWD; i++) {
        snprintf(name, sizeof(name), "account-%zu", i);
        const struct queue_claim c = {
            .class = CLASS_BATCH, .account = span_str(name), .deadline_ms = 100000};
        assert_int_equal(queue_enter(q, &items[i], &c, &o, 1000), QUEUE_TAKEN);
    }
    const clock_t begin = clock();
    queue_round(q);
    for (; (it = queue_best(q)) != NULL; passed++)
        queue_pass(it);
    const double took_s = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_int_equal(passed, CROWD);
    assert_true(took_s < 0.4);
    for (size_t i = 0; i < CROWD; i++)
        queue_leave(&items[i]);
    queue_free(q);
    free(items);
}

/* Also while it is looked at, as when its caller hangs up. */
static void who_leaves_is_out_at_once(void **state)
{
    struct line *l = line_new();

    (void)state;
    const size_t a = enter(l, CLASS_INTERACTIVE, "a"), b = enter(l, CLASS_INTERACTIVE, "b");
    queue_round(l->queue);
    struct queue_item *it = queue_best(l->queue);
    assert_ptr_equal(it, &l->items[a]);
    queue_leave(it);
    queue_leave(it);
    assert_int_equal(queue_length(l->queue), 1);
    assert_ptr_equal(queue_best(l->queue), &l->items[b]);
    line_free(l);
}

static size_t excess(struct line *l, size_t most)
{
    const struct queue_item *it = queue_excess(l->queue, most);

    assert_non_null(it);
    return (size_t)(it - l->items);
}

static void of_a_full_queue_who_came_last_leaves(void **state)
{
    struct line *l = line_new();

    (void)state;
    assert_null(queue_excess(l->queue, 0));
    for (int i = 0; i < 5; i++) {
        enter(l, CLASS_INTERACTIVE, i < 3 ? "a" : "b");
        l->now_ms++;
    }
    assert_null(queue_excess(l->queue, 5));
    const size_t last = claim(l, CLASS_INTERACTIVE, "a"); /* although its turn would be the first */
    l->claims[last].deadline_ms = l->now_ms + 1000;
    assert_int_equal(
        queue_enter(l->queue, &l->items[last], &l->claims[last], &l->options, l->now_ms),
        QUEUE_TAKEN);
    assert_int_equal(excess(l, 5), last);
    queue_leave(&l->items[last]);
    const size_t c = enter(l, CLASS_INTERACTIVE, "c");
    assert_int_equal(excess(l, 5), 2);
    queue_leave(&l->items[2]);
    enter(l, CLASS_INTERACTIVE, "c"); /* now each has two */
    assert_int_equal(excess(l, 5), c + 1);
    line_free(l);
}

static void one_accounts_requests_keep_nobody_from_waiting(void **state)
{
    struct line *l = line_new();
    char name[24];

    (void)state;
    for (int i = 0; i < 1000; i++)
        enter(l, CLASS_INTERACTIVE, "greedy");
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof(name), "modest-%d", i);
        const size_t at = enter(l, CLASS_INTERACTIVE, name);
        const size_t out = excess(l, 1000);
        assert_true(out < 1000 && out != at);
        queue_leave(&l->items[out]);
    }
    assert_int_equal(queue_length(l->queue), 1000);
    line_free(l);
}

static void who_has_more_weight_has_more_places(void **state)
{
    struct line *l = line_new();

    (void)state;
    for (int i = 0; i < 40; i++) {
        const size_t at = claim(l, CLASS_INTERACTIVE, i < 30 ? "heavy" : "light");
        l->claims[at].weight = i < 30 ? 4 : 1;
        assert_int_equal(
            queue_enter(l->queue, &l->items[at], &l->claims[at], &l->options, l->now_ms),
            QUEUE_TAKEN);
    }
    assert_int_equal(excess(l, 39), 39); /* 30 of 40 places are less than its share */
    line_free(l);
}

static void the_worst_class_leaves_first(void **state)
{
    struct line *l = line_new();

    (void)state;
    for (int i = 0; i < 5; i++)
        enter(l, CLASS_INTERACTIVE, "a");
    const size_t batch = enter(l, CLASS_BATCH, "b");
    for (int i = 0; i < 2; i++)
        enter(l, CLASS_INTERNAL, "c");
    assert_int_equal(excess(l, 7), batch);
    queue_leave(&l->items[batch]);
    const size_t last = enter(l, CLASS_INTERNAL, "c");
    assert_int_equal(excess(l, 7), 4);
    assert_int_equal(l->items[last].place, QUEUE_WAITING);
    line_free(l);
}

static void no_account_has_all_places_whatever_its_class(void **state)
{
    struct line *l = line_new();

    (void)state;
    for (int i = 0; i < 8; i++)
        enter(l, CLASS_INTERNAL, "a");
    enter(l, CLASS_BATCH, "b");
    assert_int_equal(excess(l, 8), 7); /* of eight places it has no more than six */
    queue_leave(&l->items[7]);
    enter(l, CLASS_BATCH, "b");
    assert_int_equal(excess(l, 8), 6);
    queue_leave(&l->items[6]);
    const size_t third = enter(l, CLASS_BATCH, "b");
    assert_int_equal(excess(l, 8), third);
    line_free(l);
}

static void waiting_ends_with_the_deadline_or_after_the_longest_time(void **state)
{
    struct line *l = line_new();

    (void)state;
    const size_t i = enter(l, CLASS_INTERACTIVE, "a");
    assert_int_equal(queue_leaves_ms(&l->items[i], &l->options), l->now_ms + 20000);
    const size_t k = claim(l, CLASS_INTERACTIVE, "a");
    l->claims[k].deadline_ms = l->now_ms + 5000;
    assert_int_equal(queue_enter(l->queue, &l->items[k], &l->claims[k], &l->options, l->now_ms),
                     QUEUE_TAKEN);
    assert_int_equal(queue_leaves_ms(&l->items[k], &l->options), l->now_ms + 5000);
    line_free(l);
}

/* Ten slots, each taken for two seconds: five become free in a second. */
static void serve_for_a_while(struct line *l)
{
    for (int i = 0; i < 300; i++) {
        const size_t k = start(l, CLASS_INTERACTIVE, "old");
        l->items[k].since_ms = l->now_ms - 2000;
        queue_done(&l->items[k], l->now_ms);
        l->now_ms += 200;
    }
    for (int i = 0; i < 10; i++)
        start(l, CLASS_INTERACTIVE, "old");
}

static void the_wait_is_estimated_from_how_fast_slots_become_free(void **state)
{
    struct line *l = line_new();
    const struct queue_claim mine = {.class = CLASS_INTERACTIVE, .account = SPAN("a")};

    (void)state;
    assert_int_equal(queue_wait_ms(l->queue, &mine, l->now_ms), 0);
    serve_for_a_while(l);
    assert_int_equal(queue_wait_ms(l->queue, &mine, l->now_ms), 0);
    for (int i = 0; i < 24; i++)
        enter(l, CLASS_INTERACTIVE, "a");
    assert_in_range(queue_wait_ms(l->queue, &mine, l->now_ms), 4500, 5500);
    line_free(l);
}

static void a_queue_whose_workers_run_other_gateways_requests_is_not_given_up(void **state)
{
    struct line *l = line_new();
    const struct queue_claim mine = {.class = CLASS_INTERACTIVE, .account = SPAN("a")};

    (void)state;
    for (int i = 0; i < 10; i++) { /* the rush has only begun */
        const size_t at = start(l, CLASS_INTERACTIVE, "a");
        l->now_ms += 100;
        queue_done(&l->items[at], l->now_ms);
    }
    for (int i = 0; i < 5; i++)
        enter(l, CLASS_INTERACTIVE, "a");
    assert_in_range(queue_wait_ms(l->queue, &mine, l->now_ms), 500, 700);
    line_free(l);
}

static void others_long_queues_are_not_waited_for(void **state)
{
    struct line *l = line_new();
    const struct queue_claim mine = {.class = CLASS_INTERACTIVE, .account = SPAN("b")};
    const struct queue_claim batch = {.class = CLASS_BATCH, .account = SPAN("b")};

    (void)state;
    serve_for_a_while(l);
    for (int i = 0; i < 40; i++)
        enter(l, CLASS_INTERACTIVE, "a");
    assert_in_range(queue_wait_ms(l->queue, &mine, l->now_ms), 200, 600);
    assert_in_range(queue_wait_ms(l->queue, &batch, l->now_ms), 7500, 9000);
    line_free(l);
}

static void who_has_more_weight_waits_less_from_its_first_call_on(void **state)
{
    struct line *l = line_new();
    struct queue_claim mine = {.class = CLASS_INTERACTIVE, .account = SPAN("b")};

    (void)state;
    serve_for_a_while(l);
    for (int i = 0; i < 40; i++) {
        claim(l, CLASS_INTERACTIVE, "a");
        l->claims[i].weight = 10;
    }
    for (int i = 0; i < 40; i++)
        assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &l->options, l->now_ms),
                         QUEUE_TAKEN);
    mine.weight = 1;
    const uint64_t light = queue_wait_ms(l->queue, &mine, l->now_ms);
    mine.weight = 10;
    const uint64_t equal = queue_wait_ms(l->queue, &mine, l->now_ms);
    assert_in_range(equal, 200, 600);
    assert_in_range(light, 1500, 3000);
    line_free(l);
}

static void who_cannot_be_served_in_time_is_told_at_once(void **state)
{
    struct line *l = line_new();

    (void)state;
    serve_for_a_while(l);
    for (int i = 0; i < 40; i++)
        enter(l, CLASS_INTERACTIVE, "a");
    const size_t i = claim(l, CLASS_INTERACTIVE, "a");
    l->claims[i].deadline_ms = l->now_ms + 3000;
    assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &l->options, l->now_ms),
                     QUEUE_HOPELESS);
    const struct queue_options sure = {.longest_ms = 20000, .at_once = true};
    assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &sure, l->now_ms),
                     QUEUE_TAKEN);
    queue_leave(&l->items[i]);
    l->claims[i].deadline_ms = l->now_ms + 30000;
    assert_int_equal(queue_enter(l->queue, &l->items[i], &l->claims[i], &l->options, l->now_ms),
                     QUEUE_TAKEN);
    line_free(l);
}

static void accounts_that_have_gone_are_forgotten(void **state)
{
    struct queue *q = queue_new();
    char name[24];

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct queue_item it = {0};
        snprintf(name, sizeof(name), "account-%d", i);
        const struct queue_claim c = {.class = CLASS_BATCH, .account = span_str(name)};
        queue_start(q, &it, &c, 1000);
        queue_done(&it, 2000);
    }
    assert_true(queue_accounts(q) < 10000);
    queue_free(q);
}

/* ---- Against the model ---- */

struct trial {
    struct queue *queue;
    struct queue_item items[MODEL_ITEMS];
    struct model model;
    uint64_t seed;
};

static uint64_t dice(struct trial *t, uint64_t below)
{
    return virtual_below(&t->seed, below);
}

/* A weight is an account's; now and then it is set anew. */
static unsigned some_weight(struct trial *t, size_t account)
{
    static const unsigned weights[] = {1, 2, 1, 3, 7, 1, 100};
    enum { COUNT = sizeof(weights) / sizeof(weights[0]) };

    return weights[(account + (dice(t, 20) == 0 ? dice(t, COUNT) : 0)) % COUNT];
}

/* One that is nowhere begins to wait, or runs at once. */
static void come(struct trial *t, size_t i)
{
    static const struct queue_options o = {.longest_ms = 20000, .at_once = true};
    const size_t class = dice(t, CLASSES), account = dice(t, MODEL_ACCOUNTS);
    struct model_flow *f = &t->model.flows[class][account];
    char name[8];

    snprintf(name, sizeof(name), "%zu", account);
    const struct queue_claim c = {.class = (enum service_class) class,
                                  .account = span_str(name),
                                  .weight = some_weight(t, account),
                                  .deadline_ms = 2000 + dice(t, 40)};
    if (dice(t, 8) == 0) {
        queue_start(t->queue, &t->items[i], &c, 1000);
        model_start(&t->model, &t->model.items[i], f, c.weight);
        return;
    }
    assert_int_equal(queue_enter(t->queue, &t->items[i], &c, &o, 1000), QUEUE_TAKEN);
    model_enter(&t->model, &t->model.items[i], f, c.weight, c.deadline_ms);
}

static void go(struct trial *t, size_t i)
{
    if (t->items[i].place == QUEUE_RUNNING && dice(t, 2) == 0)
        queue_done(&t->items[i], 2000);
    else
        queue_leave(&t->items[i]);
    model_leave(&t->model, &t->model.items[i]);
}

static void run(struct trial *t, size_t i)
{
    const struct queue_claim unused = {.weight = 5, .deadline_ms = 3000};

    queue_start(t->queue, &t->items[i], &unused, 1000);
    model_start(&t->model, &t->model.items[i], t->model.items[i].flow, 0);
}

static void pass(struct trial *t, size_t i)
{
    queue_pass(&t->items[i]);
    model_pass(&t->model, &t->model.items[i]);
}

/* Anyone, in or out of turn. */
static void step_of_anyone(struct trial *t, uint64_t crowded)
{
    const size_t i = dice(t, MODEL_ITEMS);

    if (t->items[i].place == QUEUE_NOWHERE) {
        if (dice(t, 10) < crowded)
            come(t, i);
    } else if (t->items[i].place == QUEUE_RUNNING || dice(t, 3) == 0) {
        if (dice(t, 10) >= crowded)
            go(t, i);
    } else if (dice(t, 2) == 0) {
        pass(t, i);
    } else {
        run(t, i);
    }
}

static void step(struct trial *t, const struct queue_item *next, uint64_t crowded)
{
    if (dice(t, 60) == 0) {
        queue_round(t->queue);
        t->model.round++;
    } else if (next && dice(t, 3) == 0) {
        (dice(t, 4) == 0 ? run : pass)(t, (size_t)(next - t->items));
    } else {
        step_of_anyone(t, crowded);
    }
}

static const struct queue_item *same_best(struct trial *t)
{
    const struct model_item *want = model_best(&t->model);
    const struct queue_item *it = queue_best(t->queue);

    assert_ptr_equal(it, want ? &t->items[want - t->model.items] : NULL);
    return it;
}

/* Whatever happens in whatever order, also between one's turn and what becomes of it. */
static void whose_turn_it_is_is_what_a_look_at_all_would_say(void **state)
{
    enum { SEEDS = 8, STEPS = 6000, PHASE = 500 };

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct trial *t = mem_zero(sizeof(*t));
        size_t turns = 0;
        t->queue = queue_new();
        t->seed = seed;
        for (size_t i = 0; i < STEPS; i++) {
            const struct queue_item *it = same_best(t);
            turns += it ? 1 : 0;
            step(t, it, 2 + i / PHASE % 3 * 3);
        }
        assert_in_range(turns, STEPS / 4, STEPS - STEPS / 100);
        for (size_t i = 0; i < MODEL_ITEMS; i++)
            queue_leave(&t->items[i]);
        queue_free(t->queue);
        free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_have_their_order),
        cmocka_unit_test(of_one_account_the_earliest_deadline_goes_first),
        cmocka_unit_test(an_account_that_asks_for_more_gets_no_more),
        cmocka_unit_test(what_runs_already_counts),
        cmocka_unit_test(one_slot_goes_round),
        cmocka_unit_test(among_accounts_that_ask_once_it_is_first_come_first_served),
        cmocka_unit_test(weights_are_shares),
        cmocka_unit_test(who_cannot_go_now_lets_others_pass),
        cmocka_unit_test(who_was_passed_over_holds_up_nobody_when_the_last_of_its_account_goes),
        cmocka_unit_test(who_enters_during_a_round_has_its_turn_in_it),
        cmocka_unit_test(who_leaves_during_a_round_holds_up_nobody),
        cmocka_unit_test(a_round_costs_each_who_waits_the_same_however_many_they_are),
        cmocka_unit_test(a_round_costs_each_account_the_same_however_many_they_are),
        cmocka_unit_test(who_leaves_is_out_at_once),
        cmocka_unit_test(of_a_full_queue_who_came_last_leaves),
        cmocka_unit_test(one_accounts_requests_keep_nobody_from_waiting),
        cmocka_unit_test(who_has_more_weight_has_more_places),
        cmocka_unit_test(the_worst_class_leaves_first),
        cmocka_unit_test(no_account_has_all_places_whatever_its_class),
        cmocka_unit_test(waiting_ends_with_the_deadline_or_after_the_longest_time),
        cmocka_unit_test(the_wait_is_estimated_from_how_fast_slots_become_free),
        cmocka_unit_test(a_queue_whose_workers_run_other_gateways_requests_is_not_given_up),
        cmocka_unit_test(others_long_queues_are_not_waited_for),
        cmocka_unit_test(who_has_more_weight_waits_less_from_its_first_call_on),
        cmocka_unit_test(who_cannot_be_served_in_time_is_told_at_once),
        cmocka_unit_test(accounts_that_have_gone_are_forgotten),
        cmocka_unit_test(whose_turn_it_is_is_what_a_look_at_all_would_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
