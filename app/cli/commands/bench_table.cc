// What is known of a device, and the README's table of speed from the JSON of `bench`.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "app/cli/commands/bench_parts.h"
#include "core/model/device.h"

namespace microtome::cli {
namespace {

// Three digits that count: 0.0781 → "78.1 ms".
std::string duration(double seconds) {
  static constexpr std::pair<double, const char*> kUnits[] = {{1, " s"}, {1e-3, " ms"}, {1e-6, " µs"}};
  for (const auto& [size, unit] : kUnits)
    if (seconds >= size || size == 1e-6) {
      const double x = seconds / size;
      char text[32];
      std::snprintf(text, sizeof text, "%.*f", x < 10 ? 2 : x < 100 ? 1 : 0, x);
      return text + std::string(unit);
    }
  return "";
}

std::string rate(double per_s, const std::string& unit) {
  char text[32];
  if (per_s >= 1e6) std::snprintf(text, sizeof text, "%.2f M ", per_s / 1e6);
  else if (per_s >= 1e4) std::snprintf(text, sizeof text, "%.0f k ", per_s / 1e3);
  else std::snprintf(text, sizeof text, "%.0f ", per_s);
  return text + unit + "/s";
}

}  // namespace

Device bench_device(const Compute& c) {
  Device out;
  if (!c.device.is_cuda()) return out;
  // By the driver's plain C functions: nothing of the toolkit is there to be linked with.
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return out;
  char name[128] = "";
  int device = 0, version = 0;
  auto get = reinterpret_cast<int (*)(int*, int)>(dlsym(driver, "cuDeviceGet"));
  auto get_name = reinterpret_cast<int (*)(char*, int, int)>(dlsym(driver, "cuDeviceGetName"));
  auto get_version = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDriverGetVersion"));
  if (get && get_name && get(&device, c.device.index()) == 0 && get_name(name, sizeof name, device) == 0) out.name = name;
  if (get_version && get_version(&version) == 0) out.driver = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  // Data sheets, dense: bytes a second; float32, TF32 and BF16 products.
  struct Known { const char* name; double bytes, f32, tf32, bf16; };
  static constexpr Known kKnown[] = {{"H200", 4.8e12, 67e12, 494.5e12, 989e12}, {"H100", 3.35e12, 67e12, 494.5e12, 989e12}, {"A100", 2.04e12, 19.5e12, 156e12, 312e12}};
  for (const Known& k : kKnown) {
    if (out.name.find(k.name) == std::string::npos) continue;
    const bool half = c.dtype == at::kBFloat16 || c.dtype == at::kHalf;
    out.bytes_per_s = k.bytes;
    out.flop_per_s = half ? k.bf16 : c.dtype == at::kDouble ? k.f32 : c.tf32 ? k.tf32 : k.f32;
    break;
  }
  return out;
}

Json BenchLine::json(const Compute& c) const {
  Json out = {{"what", what}, {"median_s", seconds}, {"runs", runs}};
  if (per > 0) out["per"] = per, out["unit"] = unit;
  if (bytes > 0) out["bytes"] = bytes;
  if (flop > 0) out["flop"] = flop;
  if (reference > 0) out["reference"] = reference;
  if (aim > 0) out["aim"] = aim;
  out["type"] = c.dtype == at::kFloat && c.tf32 ? "TF32" : c.dtype == at::kBFloat16 ? "BF16" : dtype_text(c.dtype);   // of the row, which may differ from the run's
  const Device device = bench_device(c);
  double limit = 0;
  if (device.bytes_per_s > 0) limit = std::max(limit, bytes / device.bytes_per_s);
  if (device.flop_per_s > 0) limit = std::max(limit, flop / device.flop_per_s);
  if (limit > 0) out["limit_s"] = limit;
  return out;
}

std::string bench_table(const std::vector<std::string>& files) {
  if (files.empty()) throw Error(StatusCode::kBadInput, "no file was given", "bench --table", "name files that `microtome bench --out` wrote");
  std::string out = "| workload | device | time | reference (H100) | aim | limit | share of it |\n|---|---|---|---|---|---|---|\n";
  for (const std::string& file : files) {
    const Json all = read_json_file(file).value();
    if (!all.is_object() || !all.contains("device")) throw Error(StatusCode::kBadInput, "this is no result of `microtome bench`", file);
    std::string device = all.value("device_name", std::string());
    if (device.rfind("NVIDIA ", 0) == 0) device = device.substr(7);
    if (device.empty()) device = std::to_string(all.value("threads", 0)) + " CPU cores";
    for (const Workload& w : workloads()) {
      if (!all.contains(w.name) || !all[w.name].contains("table")) continue;
      for (const Json& row : all[w.name]["table"]) {
        const double seconds = row.at("median_s").get<double>(), per = row.value("per", 0.0), limit = row.value("limit_s", 0.0);
        auto shown = [&](double x) { return x <= 0 ? std::string() : per > 0 ? rate(x, row.value("unit", std::string())) : duration(x); };
        char share[32] = "";
        if (limit > 0) std::snprintf(share, sizeof share, "%.0f %%", 100 * limit / seconds);
        out += "| " + row.at("what").get<std::string>() + " | " + device + ", " + row.value("type", std::string()) + " | " + shown(per > 0 ? per / seconds : seconds) + " | " +
               shown(row.value("reference", 0.0)) + " | " + shown(row.value("aim", 0.0)) + " | " + (limit > 0 ? shown(per > 0 ? per / limit : limit) : "") + " | " + share + " |\n";
      }
    }
  }
  return out;
}

}  // namespace microtome::cli
