// What commands share: computing options, progress, tables, tensor files.
#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <iostream>

#include "app/cli/commands/commands.h"
#include "core/io/safetensors.h"
#include "core/model/device.h"

namespace microtome::cli {
namespace {

std::atomic<bool> interrupted{false};

void on_interrupt(int) {
  // A second Ctrl-C ends the program at once.
  if (interrupted.exchange(true)) _exit(130);
}

// Terminal columns of UTF-8 text, near enough for tables: code points, no combining.
size_t columns(const std::string& s) {
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool is_number(const std::string& s) {
  return !s.empty() && s.find_first_not_of("0123456789+-.eE%naif") == std::string::npos;
}

}  // namespace

Compute read_compute(const CommandLine& line) {
  Compute c;
  c.tf32 = line.flag("--tf32");
  c.seed = static_cast<uint64_t>(std::stod(line.get("--seed", "0")));
  c.form = line.get("--form", "auto");
  c.bos = line.get("--bos", "auto");
  set_compute(c.tf32, static_cast<int>(std::stod(line.get("--threads", "0"))));
  c.device = parse_device(line.get("--device", "auto"));
  c.device_text = c.device.str();
  c.dtype = parse_dtype(line.get("--dtype", "float32"), c.device);
  c.dtype_text = dtype_text(c.dtype);
  c.keep = parse_weight_keep(line.get("--weights", "auto"));
  return c;
}

BosMode bos_mode(const std::string& text) {
  return text == "on" ? BosMode::kOn : text == "off" ? BosMode::kOff : BosMode::kAuto;
}

std::shared_ptr<const LoadedModel> open_model(const CommandLine& line, const Compute& compute) {
  return load_model(line.get("--model"), compute.device, compute.dtype, compute.keep);
}

std::map<std::string, std::string> key_values(const std::vector<std::string>& texts, const std::string& option) {
  std::map<std::string, std::string> out;
  for (const std::string& t : texts) {
    size_t eq = t.find('=');
    if (eq == std::string::npos || eq == 0)
      throw Error(StatusCode::kBadInput, "'" + t + "' is not key=value", option, "write " + option + " key=value");
    out[t.substr(0, eq)] = t.substr(eq + 1);
  }
  return out;
}

ShownProgress::ShownProgress(bool quiet) {
  interrupted = false;
  std::signal(SIGINT, on_interrupt);
  bool terminal = isatty(STDERR_FILENO) != 0;
  auto last = std::make_shared<double>(terminal ? -1.0 : 0.0);
  auto warned = std::make_shared<size_t>(0);
  progress_.on_step([this, terminal, quiet, last, warned](const Progress::Snapshot& s) {
    if (interrupted) progress_.cancel();
    for (; *warned < s.warnings.size(); ++*warned) std::fprintf(stderr, "%smicrotome: warning: %s\n", terminal ? "\r\033[K" : "", s.warnings[*warned].c_str());
    if (quiet) return;
    double every = terminal ? 0.1 : 5.0;
    if (s.elapsed_s - *last < every && s.fraction < 1) return;
    *last = s.elapsed_s;
    char left[48] = "";
    if (s.left_s > 1) std::snprintf(left, sizeof left, ", %.0f s left", s.left_s);
    if (terminal) {
      char bar[31];
      int filled = static_cast<int>(s.fraction * 30);
      for (int i = 0; i < 30; ++i) bar[i] = i < filled ? '#' : '.';
      bar[30] = 0;
      std::fprintf(stderr, "\r\033[K[%s] %3.0f %% %s%s", bar, 100 * s.fraction, s.what.c_str(), left);
      if (s.fraction >= 1) std::fprintf(stderr, "\r\033[K");
      std::fflush(stderr);
    } else if (s.fraction < 1) {
      std::fprintf(stderr, "%3.0f %% %s%s\n", 100 * s.fraction, s.what.c_str(), left);
    }
  });
}

ShownProgress::~ShownProgress() {
  progress_.on_step(nullptr);
  std::signal(SIGINT, SIG_DFL);
}

void print_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> width;
  for (const std::string& h : header) width.push_back(columns(h));
  for (const auto& r : rows)
    for (size_t i = 0; i < std::min(r.size(), width.size()); ++i) width[i] = std::max(width[i], columns(r[i]));
  auto put = [&](const std::vector<std::string>& cells, bool head) {
    std::string out;
    for (size_t i = 0; i < width.size(); ++i) {
      std::string cell = i < cells.size() ? cells[i] : "";
      std::string pad(width[i] - columns(cell), ' ');
      bool right = !head && is_number(cell);
      out += (i ? "  " : "") + (right ? pad + cell : cell + pad);
    }
    out.erase(out.find_last_not_of(' ') + 1);
    std::printf("%s\n", out.c_str());
  };
  put(header, true);
  for (const auto& r : rows) put(r, false);
}

std::string number_text(double v, int digits) {
  if (std::isnan(v)) return "–";
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*g", digits, v);
  return buffer;
}

std::string now_utc() {
  std::time_t t = std::time(nullptr);
  std::tm tm{};
  gmtime_r(&t, &tm);
  char buffer[32];
  std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M UTC", &tm);
  return buffer;
}

void print_json(const Json& j) {
  std::cout << j.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
}

void write_tensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  std::vector<at::Tensor> keep;
  std::vector<TensorToWrite> out;
  for (const auto& [name, t] : tensors) {
    at::Tensor host = t.detach().to(at::kCPU).contiguous();
    TensorToWrite w;
    w.name = name;
    switch (host.scalar_type()) {
      case at::kDouble: w.dtype = DType::kF64; break;
      case at::kLong: w.dtype = DType::kI64; break;
      case at::kHalf: w.dtype = DType::kF16; break;
      case at::kBFloat16: w.dtype = DType::kBF16; break;
      default: host = host.to(at::kFloat).contiguous(); w.dtype = DType::kF32;
    }
    w.shape = host.sizes().vec();
    w.data = {static_cast<const uint8_t*>(host.const_data_ptr()), static_cast<size_t>(host.nbytes())};
    keep.push_back(host);
    out.push_back(std::move(w));
  }
  Status s = write_safetensors(path, out, metadata);
  if (!s) throw Error(s);
}

}  // namespace microtome::cli
