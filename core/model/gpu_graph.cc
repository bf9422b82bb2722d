#include "core/model/gpu_graph.h"

#include <c10/util/Exception.h>

#include "core/base/status.h"
#include "core/hooks/index_tensor.h"
#include "core/model/kernel_library.h"
#include "kernels/graph/graph.h"

namespace microtome {
namespace {

using namespace kernels;

struct Functions {
  GraphBegin begin = nullptr;
  GraphEnd end = nullptr;
  GraphAbandon abandon = nullptr;
  GraphLaunch launch = nullptr;
  GraphFree free = nullptr;
  std::string why_not;
};

const Functions& functions() {
  static const Functions found = [] {
    Functions f;
    f.begin = reinterpret_cast<GraphBegin>(graph_function(kGraphBegin, &f.why_not));
    if (!f.begin) return f;
    f.end = reinterpret_cast<GraphEnd>(graph_function(kGraphEnd, &f.why_not));
    f.abandon = reinterpret_cast<GraphAbandon>(graph_function(kGraphAbandon, &f.why_not));
    f.launch = reinterpret_cast<GraphLaunch>(graph_function(kGraphLaunch, &f.why_not));
    f.free = reinterpret_cast<GraphFree>(graph_function(kGraphFree, &f.why_not));
    return f;
  }();
  return found;
}

}  // namespace

std::string GpuGraph::missing(c10::Device device) { return device.is_cuda() ? functions().why_not : "graphs are recorded on a CUDA device only"; }

std::unique_ptr<GpuGraph> GpuGraph::record(c10::Device device, const std::function<void()>& work, std::string& why_not) {
  why_not = missing(device);
  if (!why_not.empty()) return nullptr;
  const Functions& f = functions();
  void* handle = nullptr;
  if (const char* error = f.begin(device.index(), &handle)) {
    why_not = error;
    return nullptr;
  }
  try {
    const NothingSent nothing;
    work();
  } catch (const c10::Error& e) {
    f.abandon(handle);
    why_not = e.what_without_backtrace();
    why_not = why_not.substr(0, why_not.find('\n'));
    return nullptr;
  } catch (...) {
    f.abandon(handle);
    throw;
  }
  if (const char* error = f.end(handle)) {
    why_not = error;
    f.free(handle);
    return nullptr;
  }
  return std::unique_ptr<GpuGraph>(new GpuGraph(handle));
}

GpuGraph::~GpuGraph() { functions().free(handle_); }

void GpuGraph::launch() {
  if (const char* error = functions().launch(handle_)) throw Error(StatusCode::kFailed, std::string("the GPU refuses a recorded step: ") + error, "CUDA graph");
}

}  // namespace microtome
