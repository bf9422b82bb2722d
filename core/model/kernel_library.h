// kernel_library.h — the functions of libmicrotome_kernels.so (kernels/), which is opened on first use.
#pragma once

#include <string>

namespace microtome {

// Null: `why_not`, where given, says why. The library lies beside the file that holds this function, or one folder above
// (tests); nothing else is searched. Thread-safe.
void* kernel_function(const char* symbol, std::string* why_not = nullptr);

}  // namespace microtome
