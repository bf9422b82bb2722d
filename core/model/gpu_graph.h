// gpu_graph.h — work on a GPU recorded once and then started as a whole (kernels/graph, which says what may be recorded).
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>

namespace microtome {

class GpuGraph {
 public:
  // Why nothing can be recorded for this device in this build; empty: it can.
  static std::string missing(c10::Device device);
  // Calls `work` once, which is recorded and not done. Null: `why_not` says what stood against it (the work waits for the
  // GPU, memory lacks …); what `work` left behind is then worthless. Errors that are not the GPU's are thrown.
  static std::unique_ptr<GpuGraph> record(c10::Device device, const std::function<void()>& work, std::string& why_not);
  ~GpuGraph();
  GpuGraph(const GpuGraph&) = delete;
  // Throws Error(kFailed).
  void launch();

 private:
  explicit GpuGraph(void* handle) : handle_(handle) {}
  void* handle_;
};

}  // namespace microtome
