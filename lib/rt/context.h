/* context.h - the switch between two stacks. Only fiber.c uses it. */
#pragma once
#include <stddef.h>

/* Saves the callee-saved registers on the running stack and its pointer in *from, then goes on
 * where `to` was saved. */
void context_switch(void **from, void *to);
/* The first `to` of a stack: a switch there calls entry(), which must never return. */
void *context_make(void *stack_low, size_t stack_size, void (*entry)(void));
