// graph.h — work on a GPU recorded once and started again as a whole (a CUDA graph). What a model's step of one token costs
// is mostly the starting of its several hundred small operations, one by one; a graph starts them together.
//
// Recorded are addresses, not values: the work must read its inputs from, and leave its outputs in, tensors that stay where
// they are, must not wait for the GPU, and must take no decision that depends on what is in the tensors. Memory that it
// asks LibTorch for while recording stays the graph's own until graph_free.
#pragma once

namespace microtome::kernels {

// In libmicrotome_graph.so, which is linked with the CUDA half of LibTorch and opened where a graph is wanted. Each returns
// null or a sentence that holds until the thread's next call. One thread begins, does the work and ends.
using GraphBegin = const char* (*)(int device, void** graph);   // from here on this thread's work on the device is recorded, not done
using GraphEnd = const char* (*)(void* graph);                  // the graph can be launched
using GraphAbandon = void (*)(void* graph);                     // instead of GraphEnd: recording stops, and the graph is freed
using GraphLaunch = const char* (*)(void* graph);               // on LibTorch's stream of this thread
using GraphFree = void (*)(void* graph);                        // waits for nothing: the caller has

constexpr char kGraphBegin[] = "microtome_graph_begin", kGraphEnd[] = "microtome_graph_end", kGraphAbandon[] = "microtome_graph_abandon",
               kGraphLaunch[] = "microtome_graph_launch", kGraphFree[] = "microtome_graph_free";

}  // namespace microtome::kernels
