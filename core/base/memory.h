// memory.h — what to do where memory ends: less at a time.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>

namespace microtome {

// An allocation that failed, of the system's or of LibTorch's on any device.
bool out_of_memory(const std::exception& e);

// Does `count` things, `work(from, n)` for at most `at_once` of them, in order. Where memory does not suffice `at_once` is
// halved, for later calls too, and the same things are tried again; with one thing at a time the error is thrown.
void in_parts(int64_t count, int64_t& at_once, const std::function<void(int64_t from, int64_t n)>& work);

}  // namespace microtome
