/* The consistency walk notices a ledger whose records were tampered with, one way at a time. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"
#include "ft_test_doubles.h"

typedef void (*damage)(ft_ledger *ledger);

static void
raise(ft_u128 *count)
{
    *count = ft_u128_add(*count, ft_u128_of(1));
}

static void
damage_total(ft_ledger *ledger)
{
    raise(&ledger->total);
}

static void
damage_step_flops(ft_ledger *ledger)
{
    raise(&ledger->steps->rows[4].flops_batch);
}

static void
damage_step_total(ft_ledger *ledger)
{
    raise(&ledger->steps->rows[4].flops_total_cum);
}

static void
damage_step_number(ft_ledger *ledger)
{
    ledger->steps->rows[4].step++;
}

static void
damage_first_step_number(ft_ledger *ledger)
{
    ledger->steps->rows[3].step = 4; /* as if it belonged to the epoch before */
}

static void
damage_step_epoch(ft_ledger *ledger)
{
    ledger->steps->rows[3].epoch = 1;
}

static void
damage_last_step_epoch(ft_ledger *ledger)
{
    ledger->steps->rows[8].epoch = 4; /* an epoch that never began */
    ledger->steps->rows[8].step = 1;
}

static void
damage_step_order(ft_ledger *ledger)
{
    ft_step step = ledger->steps->rows[1];
    ledger->steps->rows[1] = ledger->steps->rows[2];
    ledger->steps->rows[2] = step;
}

static void
damage_epoch_order_of_steps(ft_ledger *ledger)
{
    for (int i = 3; i < 6; i++) { /* epochs 1, 3, 2 with sound totals and step numbers */
        ledger->steps->rows[i].epoch = 3;
        ledger->steps->rows[i + 3].epoch = 2;
    }
}

static void
lose_last_step(ft_ledger *ledger)
{
    ledger->step_count--;
}

static void
lose_first_step(ft_ledger *ledger)
{
    ledger->step_count--;
    memmove(ledger->steps->rows, ledger->steps->rows + 1,
            ledger->step_count * sizeof ledger->steps->rows[0]);
}

static void
damage_epoch_flops(ft_ledger *ledger)
{
    raise(&ledger->epochs[1].flops_epoch);
}

static void
damage_epoch_total(ft_ledger *ledger)
{
    raise(&ledger->epochs[1].flops_total_cum);
}

static void
damage_epoch_number(ft_ledger *ledger)
{
    ledger->epochs[1].epoch++;
}

static void
lose_first_epoch(ft_ledger *ledger)
{
    ledger->epoch_count--;
    memmove(ledger->epochs, ledger->epochs + 1, ledger->epoch_count * sizeof ledger->epochs[0]);
}

static void
damage_open_epoch(ft_ledger *ledger)
{
    raise(&ledger->current.flops_epoch);
}

/* Three epochs of three steps, step i costing i+1; the last is still open unless closed. */
static void
fill(ft_ledger *ledger, bool closed)
{
    ft_step step;
    ft_epoch epoch;
    for (uint64_t i = 0; i < 9; i++) {
        if (i % 3 == 0) {
            CHECK_STATUS(ft_ledger_begin_epoch(ledger), FT_OK);
        }
        CHECK_STATUS(ft_ledger_add_step(ledger, 1, ft_u128_of(i + 1), 0.5, &step), FT_OK);
        if (i % 3 == 2 && (closed || i < 8)) {
            ft_ledger_end_epoch(ledger, true, 1.0, &(double){0.5}, &epoch);
        }
    }
    CHECK_U128(ledger->total, ft_u128_of(45)); /* 1 + 2 + ... + 9 */
}

static void
check_damage(damage apply, bool closed, bool keep_steps, bool keep_epochs, const char *name)
{
    test_heap heap = {0, 0, 0};
    ft_ledger ledger;
    ft_ledger_init(&ledger, test_heap_allocator(&heap), keep_steps, keep_epochs);
    fill(&ledger, closed);
    CHECK(ft_ledger_consistent(&ledger));
    apply(&ledger);
    if (!CHECK(!ft_ledger_consistent(&ledger))) {
        printf("unnoticed: %s, %s\n", name, closed ? "closed" : "open");
    }
    ft_ledger_clear(&ledger);
    CHECK(ft_ledger_consistent(&ledger));
    CHECK_U64(heap.live, 0);
}

#define DAMAGE(function) {function, #function}

static void
test_steps(void)
{
    static const struct {
        damage apply;
        const char *name;
    } damages[] = {
        DAMAGE(damage_total),
        DAMAGE(damage_step_flops),
        DAMAGE(damage_step_total),
        DAMAGE(damage_step_number),
        DAMAGE(damage_first_step_number),
        DAMAGE(damage_step_epoch),
        DAMAGE(damage_last_step_epoch),
        DAMAGE(damage_step_order),
        DAMAGE(damage_epoch_order_of_steps),
        DAMAGE(lose_last_step),
        DAMAGE(lose_first_step),
    };
    for (size_t i = 0; i < FT_COUNT_OF(damages); i++) {
        for (int closed = 0; closed < 2; closed++) { /* with and without the records of epochs */
            check_damage(damages[i].apply, closed != 0, true, true, damages[i].name);
            check_damage(damages[i].apply, closed != 0, true, false, damages[i].name);
        }
    }
}

static void
test_epochs(void)
{
    static const struct {
        damage apply;
        const char *name;
    } damages[] = {
        DAMAGE(damage_total),        DAMAGE(damage_epoch_flops), DAMAGE(damage_epoch_total),
        DAMAGE(damage_epoch_number), DAMAGE(lose_first_epoch),
    };
    for (size_t i = 0; i < FT_COUNT_OF(damages); i++) {
        for (int closed = 0; closed < 2; closed++) { /* with and without the records of steps */
            check_damage(damages[i].apply, closed != 0, true, true, damages[i].name);
            check_damage(damages[i].apply, closed != 0, false, true, damages[i].name);
        }
    }
    check_damage(damage_open_epoch, false, true, true, "damage_open_epoch");
    check_damage(damage_open_epoch, false, false, true, "damage_open_epoch");
}

TEST_MAIN(test_steps, test_epochs)
