// LibTorch's own class does the recording, since its allocator must know what memory belongs to a graph.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>
#include <string>

#include "kernels/graph/graph.h"

namespace {

thread_local std::string said;

template <class F>
const char* guarded(const F& f) {
  try {
    f();
    return nullptr;
  } catch (const std::exception& e) {
    said = e.what();
    said = said.substr(0, said.find('\n'));
    return said.c_str();
  }
}

struct Recorded {
  at::cuda::CUDAGraph graph;
  // Nothing can be recorded on the default stream.
  c10::cuda::CUDAStream before, stream;
  explicit Recorded(c10::DeviceIndex device) : before(c10::cuda::getCurrentCUDAStream(device)), stream(c10::cuda::getStreamFromPool(false, device)) {}
};

}  // namespace

extern "C" {

const char* microtome_graph_begin(int device, void** graph) {
  return guarded([&] {
    c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
    auto r = std::make_unique<Recorded>(static_cast<c10::DeviceIndex>(device));
    c10::cuda::device_synchronize();
    c10::cuda::setCurrentCUDAStream(r->stream);
    try {
      r->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    } catch (...) {
      c10::cuda::setCurrentCUDAStream(r->before);
      throw;
    }
    *graph = r.release();
  });
}

const char* microtome_graph_end(void* graph) {
  Recorded& r = *static_cast<Recorded*>(graph);
  const char* error = guarded([&] { r.graph.capture_end(); });
  c10::cuda::setCurrentCUDAStream(r.before);
  return error;
}

void microtome_graph_abandon(void* graph) {
  Recorded* r = static_cast<Recorded*>(graph);
  guarded([&] { r->graph.capture_end(); });
  c10::cuda::setCurrentCUDAStream(r->before);
  guarded([&] { delete r; });
}

const char* microtome_graph_launch(void* graph) {
  return guarded([&] { static_cast<Recorded*>(graph)->graph.replay(); });
}

void microtome_graph_free(void* graph) {
  guarded([&] { delete static_cast<Recorded*>(graph); });
}

}  // extern "C"
