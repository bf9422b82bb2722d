// bench: the workloads speed claims rest on. Each compares forms of the same work in one run on one machine; JSON out.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>

#include "app/cli/commands/bench_parts.h"
#include "app/cli/commands/commands.h"
#include "core/base/atomic_file.h"
#include "core/base/json.h"
#include "core/mixers/registry.h"
#include "core/model/device.h"

namespace microtome::cli {
namespace {

Json mixers_bench(const CommandLine& line, const Compute& c, Progress&) {
  Json out = Json::object();
  bool cpu = c.device.is_cpu(), small = line.flag("--small");
  int64_t b = 1, h = cpu ? 4 : 16, t = small ? 128 : cpu ? 1024 : 4096, d = 64;
  at::TensorOptions o = at::TensorOptions().dtype(c.dtype);
  auto make = [&](std::vector<int64_t> shape, double phase) {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    return at::sin(at::arange(n, at::kDouble) * 0.7331 + phase).view(shape).to(o).to(c.device);
  };
  auto unit = [](const at::Tensor& x) { return x / x.norm(2, -1, true); };
  for (const char* name : {"linear_attn", "retention", "simple_gla", "gla", "delta_rule", "gated_delta_rule"}) {
    const MixerKind* kind = mixers::builtin().find(name);
    if (!kind) continue;
    MixerOpRequest r;
    r.inputs = {{"q", unit(make({b, t, h, d}, 0))}, {"k", unit(make({b, t, h, d}, 1))}, {"v", make({b, t, h, d}, 2)}};
    r.scalars.set("scale", 1.0 / 8);
    r.scalars.set("kind", std::string("plain"));
    at::Tensor gate = make({b, t, h}, 3).sigmoid().log() * 0.1;
    if (kind->name == "gla") r.inputs["gk"] = make({b, t, h, d}, 3).sigmoid().log() * 0.1;
    if (kind->name == "simple_gla" || kind->name == "gated_delta_rule") r.inputs["g"] = gate;
    if (kind->name == "delta_rule" || kind->name == "gated_delta_rule") r.inputs["beta"] = make({b, t, h}, 4).sigmoid();
    Json row = {{"batch", b}, {"heads", h}, {"tokens", t}, {"d", d}};
    for (MixerForm form : {MixerForm::kNaive, MixerForm::kRecurrent, MixerForm::kChunk}) {
      r.form = form;
      row[form_name(form)] = timed(c.device, form == MixerForm::kNaive ? 1 : 20, form == MixerForm::kNaive ? 0 : 2, [&] { kind->op(r); }).json();
    }
    row["ratio"] = row["naive"]["median_s"].get<double>() / row["chunk"]["median_s"].get<double>();
    // Every state written: what looking at states costs; the limit is the states' own bytes.
    const int64_t few = std::min<int64_t>(t, 2048);
    for (auto& [input, value] : r.inputs) value = value.slice(1, 0, few).contiguous();
    r.states = true;
    Json states = {{"tokens", few}, {"bytes", b * few * h * d * d * static_cast<int64_t>(c10::elementSize(c.dtype))}};
    Timed form_of_states;
    for (MixerForm form : {MixerForm::kNaive, MixerForm::kRecurrent, MixerForm::kAuto}) {
      r.form = form;
      form_of_states = timed(c.device, form == MixerForm::kNaive ? 1 : 20, form == MixerForm::kNaive ? 0 : 2, [&] { kind->op(r); });
      states[form_name(form)] = form_of_states.json();
    }
    row["every_state"] = states;
    if (kind->name == "delta_rule" && !cpu && !small) {
      BenchLine every("every state, delta rule, 16 heads of 64, 2,048 tokens, with z", form_of_states);
      every.bytes = states["bytes"].get<double>();
      every.reference = 0.02182, every.aim = 0.0004;
      out["table"].push_back(every.json(c));
    }
    out[kind->name] = row;
  }
  return out;
}

int write_file(const std::string& path, const std::string& text) {
  AtomicFile file = AtomicFile::create(path).value();
  Status s = file.write(text.data(), text.size());
  if (s) s = file.commit();
  if (!s) throw Error(s);
  return 0;
}

// The text of a file with the table in place of what stands between its marks.
std::string with_table(const std::string& path, const std::string& table) {
  const std::string begin = "<!-- speed -->\n", end = "<!-- /speed -->";
  const std::string text = read_text_file(path).value();
  const size_t from = text.find(begin), to = text.find(end, from == text.npos ? 0 : from);
  if (from == text.npos || to == text.npos)
    throw Error(StatusCode::kBadInput, "the file has no lines '<!-- speed -->' and '" + end + "' around a table", path, "add the two lines where it shall stand");
  return text.substr(0, from + begin.size()) + table + text.substr(to);
}

}  // namespace

const std::vector<Workload>& workloads() {
  static const std::vector<Workload> all = {
      {"forward", "a forward pass, plain and with every hook point cached", forward_bench},
      {"patching", "patching grids against the loop, attribution patching", patching_bench},
      {"decode", "generation, one prompt, token by token", decode_bench},
      {"circuits", "edge attribution, circuits of ten sizes, ACDC", circuits_bench},
      {"mixers", "forms of the linear mixers, every state", mixers_bench},
      {"attention", "softmax attention: z, numbers of its pattern, the pattern", attention_bench},
      {"kernels", "chunked kernels of the linear mixers", kernels_bench},
      {"training", "steps of sparse autoencoders", training_bench},
  };
  return all;
}

int bench(const CommandLine& line) {
  if (line.flag("--table")) {
    const std::string table = bench_table(line.words);
    if (line.has("--out")) return write_file(line.get("--out"), with_table(line.get("--out"), table));
    std::fputs(table.c_str(), stdout);
    return 0;
  }
  Compute c = read_compute(line);
  at::NoGradGuard no_grad;
  const KeepMemory keep;               // as an analysis has it
  ShownProgress shown(true);
  const Device device = bench_device(c);
  Json out = {{"device", c.device_text}, {"device_name", device.name}, {"driver_cuda", device.driver}, {"dtype", c.dtype_text}, {"tf32", c.tf32},
              {"threads", at::get_num_threads()}, {"libtorch", MICROTOME_TORCH_VERSION}, {"microtome", MICROTOME_VERSION}};
  std::vector<std::string> names = line.words;
  if (names.empty() || names[0] == "all") {
    names.clear();
    for (const Workload& w : workloads()) names.push_back(w.name);
  }
  for (const std::string& name : names) {
    const Workload* found = nullptr;
    std::string known;
    for (const Workload& w : workloads()) {
      if (name == w.name) found = &w;
      known += (known.empty() ? "" : ", ") + std::string(w.name);
    }
    if (!found) throw Error(StatusCode::kNotFound, "there is no benchmark '" + name + "'", "bench", "known are all, " + known);
    out[name] = found->run(line, c, shown.progress());
  }
  if (!line.has("--out")) {
    print_json(out);
    return 0;
  }
  return write_file(line.get("--out"), out.dump(1) + "\n");
}

}  // namespace microtome::cli
