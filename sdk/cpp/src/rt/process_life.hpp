// What the runtime has to know about the process: that it was forked, and that a thread is in
// exit().
#pragma once

#include <cstdint>

namespace zsync::rt {

// How often the process was forked, counting from its ancestors' first runtime. It differs in a
// child.
uint32_t forked_processes() noexcept;
// Lets that count be kept from here on, and fork() wait until nobody changes what is global.
void watch_forks();

// For threads that run tasks or blocking functions: lets thread_is_ending() be known.
void watch_thread_end() noexcept;
// The objects of this thread are being destroyed. While it still runs a function of the runtime
// that means that this function called exit(): static objects come after the thread's.
bool thread_is_ending() noexcept;

// Held while a process is forked, so that the child finds them free. In this order.
void lock_global_runtime();
void unlock_global_runtime();
void lock_frame_store();
void unlock_frame_store();

}  // namespace zsync::rt
