/* context.c - the switch between two stacks, a few instructions per processor.
 *
 *      high  | 0 (ends a backtrace) |
 *            | trampoline           |  <- where the first switch "returns" to; it calls entry
 *            | callee-saved         |     (rbp or x29 is 0, entry waits in a saved register)
 *      low   v                      v  <- the saved stack pointer
 *
 * swapcontext() would do, but makes a system call for the signal mask each time: 20 times the price
 * of what follows. The floating-point control words are not swapped: nobody here changes them.
 * Indirect branch tracking is served (endbr64, bti); a shadow stack is not, so the programs are
 * built with -fcf-protection=branch, which does not ask for one. As file-scope assembler this text
 * shares the notes that the compiler writes (no executable stack, IBT). */
#include "rt/context.h"
#include <stdint.h>
#include <string.h>

void context_trampoline(void);

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl context_switch\n"
        ".type context_switch, @function\n"
        ".p2align 4\n"
        "context_switch:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size context_switch, . - context_switch\n"
        ".globl context_trampoline\n"
        ".type context_trampoline, @function\n"
        ".p2align 4\n"
        "context_trampoline:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined rip\n" /* the outermost frame: unwinders stop here */
        "    endbr64\n"
        "    call *%rbx\n"
        "    ud2\n"
        "    .cfi_endproc\n"
        ".size context_trampoline, . - context_trampoline\n");

enum { SAVED = 7, ENTRY = 4, RETURN = 6 }; /* r15 r14 r13 r12 rbx rbp, return address */
enum { TOP_GAP = 16 }; /* the call in the trampoline finds the stack aligned as the ABI wants */

#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl context_switch\n"
        ".type context_switch, %function\n"
        ".p2align 4\n"
        "context_switch:\n"
        "    .cfi_startproc\n"
        "    hint #34\n" /* bti c */
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size context_switch, . - context_switch\n"
        ".globl context_trampoline\n"
        ".type context_trampoline, %function\n"
        ".p2align 4\n"
        "context_trampoline:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined x30\n"
        "    hint #34\n"
        "    blr x19\n"
        "    brk #1\n"
        "    .cfi_endproc\n"
        ".size context_trampoline, . - context_trampoline\n");

enum { SAVED = 20, ENTRY = 0, RETURN = 11 }; /* x19..x28, x29, x30, d8..d15 */
enum { TOP_GAP = 16 };

#else
#error "context.c needs the switch for this processor: twenty instructions, see above"
#endif

void *context_make(void *stack_low, size_t stack_size, void (*entry)(void))
{
    char *top = (char *)stack_low + stack_size - TOP_GAP;
    void (*trampoline)(void) = context_trampoline;
    uintptr_t frame[SAVED] = {0};

    memset(top, 0, TOP_GAP);
    memcpy(&frame[ENTRY], &entry, sizeof entry);
    memcpy(&frame[RETURN], &trampoline, sizeof trampoline);
    return memcpy(top - sizeof frame, frame, sizeof frame);
}
