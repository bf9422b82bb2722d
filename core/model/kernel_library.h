// kernel_library.h — the functions of libmicrotome_kernels.so (kernels/) and libmicrotome_graph.so, which are opened on first use.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace microtome {

// Null: `why_not`, where given, says why. The library lies beside the file that holds this function, or one folder above
// (tests); nothing else is searched. Thread-safe.
void* kernel_function(const char* symbol, std::string* why_not = nullptr);
// The same of libmicrotome_graph.so (kernels/graph), which needs the CUDA half of LibTorch: ask only where a GPU is used.
void* graph_function(const char* symbol, std::string* why_not = nullptr);

// LibTorch's current stream of this thread on a GPU, as kernels take it.
void* current_stream(c10::Device device);

}  // namespace microtome
