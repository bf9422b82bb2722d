// doctor, inspect, tokenize, analyses, tasks: looking without running.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "app/cli/commands/commands.h"
#include "app/engine/plugin_analyses.h"
#include "core/families/registry.h"
#include "core/mixers/registry.h"
#include "core/model/device.h"
#include "core/model/kernel_library.h"
#include "core/model/weights.h"

namespace microtome::cli {
namespace {

std::string join(const std::vector<std::string>& v, const char* between = " ") {
  std::string out;
  for (const std::string& s : v) out += (out.empty() ? "" : between) + s;
  return out;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + (shape[i] < 0 ? std::string("·") : std::to_string(shape[i]));
  return out + "]";
}

// Every form of every mixer against naive on its conformance cases: the largest relative difference.
double self_test(const MixerKind& kind, MixerForm form) {
  double worst = 0;
  for (const MixerCase& c : kind.cases) {
    MixerInfo info = kind.info(c.params, c.d_model);
    if (std::find(info.forms.begin(), info.forms.end(), form) == info.forms.end()) continue;
    WeightMap weights;
    int64_t k = 0;
    for (const WeightSpec& w : kind.weights(c.params, c.d_model)) {
      int64_t n = 1;
      for (int64_t d : w.shape) n *= d;
      weights[w.name] = at::sin(at::arange(n, at::kFloat) * 12.9898 + static_cast<double>(++k)).view(w.shape) * 0.3;
    }
    auto mixer = kind.create(c.params, c.d_model, weights);
    MixerInput in;
    in.x = at::cos(at::arange(c.batch * c.pos * c.d_model, at::kFloat) * 0.7).view({c.batch, c.pos, c.d_model});
    // What a model's first layer would leave for this one.
    SharedValues shared;
    for (const SharedValue& v : info.reads) {
      std::vector<int64_t> shape = {c.batch, c.pos};
      int64_t n = c.batch * c.pos;
      for (int64_t d : v.sizes) {
        shape.push_back(d);
        n *= d;
      }
      shared[v.name] = at::sin(at::arange(n, at::kFloat) * 0.3).view(shape);
    }
    in.shared = &shared;
    HookScope quiet;
    at::Tensor naive = mixer->forward(in, nullptr, quiet, {MixerForm::kNaive, std::nullopt});
    at::Tensor other = mixer->forward(in, nullptr, quiet, {form, std::nullopt});
    worst = std::max(worst, ((other - naive).abs().max() / naive.abs().max().clamp_min(1e-6)).item<double>());
  }
  return worst;
}

Json hook_json(const HookPoint& p) {
  return {{"name", p.name}, {"axes", p.axes}, {"sizes", p.sizes}, {"on_request", p.on_request}, {"note", p.note}};
}

void print_plugins(const app::AnalysisCatalogue& known) {
  std::vector<std::string> folders;
  for (const plugins::Folder& f : known.folders) folders.push_back(f.path);
  if (known.plugins.empty()) std::printf("Plug-ins: none found (looked into %s)\n", join(folders, ", ").c_str());
  for (const auto& p : known.plugins) {
    std::vector<std::string> names;
    for (const auto& a : p->analyses) names.push_back(a.name);
    std::printf("Plug-in: %s%s, %s (%s)\n", p->name.c_str(), p->version.empty() ? "" : (" " + p->version).c_str(),
                names.empty() ? "nothing that could be used" : join(names, ", ").c_str(), p->file.c_str());
  }
  for (const std::string& problem : known.problems) std::printf("Plug-in problem: %s\n", problem.c_str());
}

int inspect_file(const CommandLine& line, const std::string& path) {
  SafetensorsFile file = SafetensorsFile::open(path).value();
  Json out = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const TensorEntry& t : file.tensors()) {
    out.push_back({{"name", t.name}, {"dtype", dtype_name(t.dtype)}, {"shape", t.shape}});
    rows.push_back({t.name, dtype_name(t.dtype), shape_text(t.shape)});
  }
  if (line.flag("--json")) print_json({{"tensors", out}, {"metadata", file.metadata()}});
  else print_table({"tensor", "type", "shape"}, rows);
  return 0;
}

}  // namespace

namespace {

struct KernelEntry { const char *name, *symbol, *what; };
constexpr KernelEntry kKernels[] = {
    {"scan", "microtome_scan_cuda", "states and decoding of linear mixers"},
    {"chunk_linear", "microtome_chunk_linear_forward", "linear mixers without a delta rule, whole prompts"},
    {"chunk_delta", "microtome_chunk_delta_forward", "delta rules, whole prompts"},
    {"short_conv", "microtome_short_conv_cuda", "the convolution before a linear mixer"},
    {"attention_statistics", "microtome_attention_statistics_cuda", "where softmax heads look, without their patterns"},
    {"masked_softmax", "microtome_masked_softmax_cuda", "scores and patterns that are looked at"},
    {"layer_norm", "microtome_layer_norm_cuda", "norms that are looked at"},
    {"top_choice", "microtome_top_rows_cuda", "training of sparse dictionaries: the k strongest"},
    {"sparse_step", "microtome_decode_step_cuda", "training of sparse dictionaries: decode and gradients"},
    {"sparse_codes", "microtome_sparse_codes_cuda", "sparse dictionaries: decode"},
    {"adam", "microtome_adam_rows_cuda", "training of sparse dictionaries: Adam"},
};

}  // namespace

int doctor(const CommandLine& line) {
  Json out;
  out["microtome"] = MICROTOME_VERSION;
  out["libtorch"] = MICROTOME_TORCH_VERSION;
  const CudaStatus& cuda = cuda_status();
  Json devices = Json::array();
  for (const CudaDevice& d : cuda.devices) devices.push_back(d.name);
  out["cuda"] = {{"built", cuda.built}, {"usable", cuda.usable}, {"why_not", cuda.why_not}, {"devices", devices}};
  out["kernels"] = Json::array();
  std::string no_kernels = cuda.usable ? std::string() : "no GPU";
  if (cuda.usable)
    for (const auto& [name, symbol, what] : kKernels)
      if (kernel_function(symbol, &no_kernels)) out["kernels"].push_back({{"name", name}, {"for", what}});
  std::filesystem::path folder = std::filesystem::path(line.program).parent_path();
  out["desktop"] = std::filesystem::exists(folder / "microtome-desktop");
  const app::AnalysisCatalogue known = app::load_analyses();
  out["plugins"] = Json::array();
  for (const auto& p : known.plugins) {
    out["plugins"].push_back({{"file", p->file}, {"name", p->name}, {"version", p->version}, {"hash", p->hash}, {"analyses", Json::array()}});
    for (const auto& a : p->analyses) out["plugins"].back()["analyses"].push_back(a.name);
  }
  out["plugin_problems"] = known.problems;
  Json tests = Json::array();
  std::vector<std::vector<std::string>> rows;
  bool good = true;
  at::NoGradGuard no_grad;
  for (const MixerKind* kind : mixers::builtin().all()) {
    for (MixerForm form : {MixerForm::kChunk, MixerForm::kRecurrent}) {
      bool any = false;
      for (const MixerCase& c : kind->cases) {
        auto forms = kind->info(c.params, c.d_model).forms;
        any = any || std::find(forms.begin(), forms.end(), form) != forms.end();
      }
      if (!any) continue;
      double worst = self_test(*kind, form);
      bool ok = worst < 1e-3;
      good = good && ok;
      tests.push_back({{"mixer", kind->name}, {"form", form_name(form)}, {"max_relative_difference", worst}, {"ok", ok}});
      rows.push_back({kind->name, form_name(form), number_text(worst, 2), ok ? "ok" : "WRONG"});
    }
  }
  out["self_test"] = tests;
  if (line.flag("--json")) {
    print_json(out);
  } else {
    std::printf("microtome %s, LibTorch %s\n", MICROTOME_VERSION, MICROTOME_TORCH_VERSION);
    if (cuda.usable) std::printf("CUDA: %zu device(s), from cuda:0\n", cuda.devices.size());
    else std::printf("CUDA: not used (%s)\n", cuda.why_not.c_str());
    if (out["kernels"].empty()) std::printf("CUDA kernels of our own: not used (%s); the same is done by LibTorch operations\n", no_kernels.c_str());
    else std::printf("CUDA kernels of our own:\n");
    for (const Json& k : out["kernels"]) std::printf("  %-22s %s\n", k["name"].get<std::string>().c_str(), k["for"].get<std::string>().c_str());
    std::printf("Desktop app: %s\n", out["desktop"].get<bool>() ? "present" : "not built");
    print_plugins(known);
    std::printf("\n");
    std::printf("Self-test: each form against the naive one, largest relative difference\n");
    print_table({"mixer", "form", "difference", ""}, rows);
  }
  return good ? 0 : 1;
}

int inspect(const CommandLine& line) {
  std::string target = line.word(0);
  std::error_code ec;
  if (std::filesystem::is_regular_file(target, ec)) return inspect_file(line, target);
  InspectedModel m = inspect_model(target);
  auto tokenizer = Tokenizer::open_folder(target).value();
  HookCatalogue catalogue = build_catalogue(m.config);
  const ModelConfig& c = m.config;
  for (const std::string& w : m.warnings) std::fprintf(stderr, "microtome: warning: %s\n", w.c_str());
  int64_t parameters = parameter_count(c);
  if (line.flag("--json")) {
    Json out = {{"name", m.name}, {"family", c.family}, {"parameters", parameters}, {"d_model", c.d_model},
                {"vocab_size", c.vocab_size}, {"context_length", c.context_length}, {"stored_dtype", c.stored_dtype},
                {"tied_unembedding", c.tied_unembedding}, {"weight_bytes", m.checkpoint->weight_bytes()}};
    for (size_t i = 0; i < c.layers.size(); ++i) {
      MixerInfo x = mixer_info_of(c.layers[i], c.d_model);
      out["layers"].push_back({{"index", i}, {"mixer", x.kind}, {"kind", x.recurrent ? "recurrent" : "softmax"}, {"heads", x.heads},
                               {"kv_heads", x.kv_heads}, {"d_k", x.d_k}, {"d_v", x.d_v}, {"d_mlp", c.layers[i].channel.d_mlp}});
    }
    if (tokenizer) out["tokenizer"] = {{"vocab_size", tokenizer->vocab_size()}, {"bos", tokenizer->bos_id().value_or(-1)}, {"eos", tokenizer->eos_id().value_or(-1)}};
    else out["tokenizer"] = nullptr;
    for (const HookPoint& p : catalogue.points()) out["hooks"].push_back(hook_json(p));
    print_json(out);
    return 0;
  }
  std::printf("%s: family %s, %lld parameters, %.1f MB stored as %s\n", m.name.c_str(), c.family.c_str(),
              static_cast<long long>(parameters), static_cast<double>(m.checkpoint->weight_bytes()) / 1e6, c.stored_dtype.c_str());
  std::printf("d_model %lld, vocabulary %lld, context %lld, unembedding %s\n", static_cast<long long>(c.d_model),
              static_cast<long long>(c.vocab_size), static_cast<long long>(c.context_length), c.tied_unembedding ? "tied" : "its own");
  if (tokenizer) std::printf("tokenizer: %lld ids, start token %lld\n", static_cast<long long>(tokenizer->vocab_size()), static_cast<long long>(tokenizer->bos_id().value_or(-1)));
  else std::printf("tokenizer: none in the folder (give ids instead of text)\n");
  std::printf("\n");
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < c.layers.size(); ++i) {
    MixerInfo x = mixer_info_of(c.layers[i], c.d_model);
    rows.push_back({std::to_string(i), x.kind, x.recurrent ? "recurrent" : "softmax", std::to_string(x.heads), std::to_string(x.kv_heads),
                    std::to_string(x.d_k), std::to_string(x.d_v), std::to_string(c.layers[i].channel.d_mlp)});
  }
  print_table({"layer", "mixer", "kind", "heads", "kv heads", "d_k", "d_v", "d_mlp"}, rows);
  std::printf("\n");
  rows.clear();
  bool all = line.flag("--hooks");
  size_t shown_layers = 0;
  for (const HookPoint& p : catalogue.points()) {
    // Without --hooks: the points outside blocks and those of the first block of each kind.
    if (!all && p.name.rfind("blocks.", 0) == 0) {
      size_t layer = static_cast<size_t>(std::atoll(p.name.c_str() + 7));
      bool first_of_kind = true;
      for (size_t i = 0; i < layer; ++i) first_of_kind = first_of_kind && c.layers[i].mixer != c.layers[layer].mixer;
      if (!first_of_kind) continue;
      shown_layers = std::max(shown_layers, layer + 1);
    }
    rows.push_back({p.name, join(p.axes), shape_text(p.sizes), (p.on_request ? "on request " : "") + p.note});
  }
  print_table({"hook point", "axes", "sizes (· follows the run)", ""}, rows);
  if (!all && shown_layers < c.layers.size()) std::printf("… and the same for the other blocks (--hooks lists all %zu)\n", catalogue.points().size());
  return 0;
}

int tokenize(const CommandLine& line) {
  std::shared_ptr<const Tokenizer> tokenizer;
  if (line.has("--tokenizer")) tokenizer = Tokenizer::open(line.get("--tokenizer")).value();
  else if (line.has("--model")) tokenizer = Tokenizer::open_folder(line.get("--model")).value();
  else throw Error(StatusCode::kBadInput, "no tokenizer is named", "tokenize", "give --model FOLDER or --tokenizer FILE");
  if (!tokenizer) throw Error(StatusCode::kNotFound, "the folder holds no tokenizer.json", line.get("--model"), "copy it there");
  bool json = line.flag("--json");
  if (line.flag("--decode")) {
    std::vector<int64_t> ids;
    for (const std::string& w : line.words) {
      std::string part;
      for (char ch : w + ",") {
        if (ch == ',' || ch == ' ') {
          if (part.empty()) continue;
          if (part.find_first_not_of("0123456789") != std::string::npos || part.size() > 12)
            throw Error(StatusCode::kBadInput, "'" + part + "' is not a token id", "tokenize --decode", "give ids as numbers");
          ids.push_back(std::stoll(part));
          part.clear();
        } else {
          part += ch;
        }
      }
    }
    std::string text = tokenizer->decode(ids, line.flag("--no-special"));
    if (json) print_json({{"text", text}});
    else std::printf("%s\n", text.c_str());
    return 0;
  }
  auto encode = [&](const std::string& text) {
    Encoding e = tokenizer->encode(text, !line.flag("--no-special"));
    return Json{{"ids", e.ids}, {"pieces", e.pieces}};
  };
  if (line.has("--texts")) {
    Json texts = read_json_file(line.get("--texts")).value();
    if (!texts.is_array()) throw Error(StatusCode::kBadInput, "not a list of strings", line.get("--texts"), "write [\"…\", …]");
    Json out = Json::array();
    for (const Json& t : texts) {
      if (!t.is_string()) throw Error(StatusCode::kBadInput, "an entry is not a string", line.get("--texts"), "write [\"…\", …]");
      out.push_back(encode(t.get<std::string>()));
    }
    print_json(out);
    return 0;
  }
  if (line.words.empty()) throw Error(StatusCode::kBadInput, "no text is given", "tokenize", "give TEXT or --texts FILE");
  Json e = encode(join(line.words));
  if (json) {
    print_json(e);
  } else {
    std::vector<std::vector<std::string>> rows;
    for (size_t i = 0; i < e["ids"].size(); ++i)
      rows.push_back({std::to_string(i), std::to_string(e["ids"][i].get<int64_t>()), e["pieces"][i].get<std::string>()});
    print_table({"position", "id", "piece"}, rows);
  }
  return 0;
}

int analyses_command(const CommandLine& line) {
  const app::AnalysisCatalogue known = app::load_analyses();
  if (line.words.empty()) {
    std::vector<std::vector<std::string>> rows;
    Json out = Json::array();
    for (const AnalysisKind* k : known.registry.all()) {
      rows.push_back({k->info.name, k->info.title, k->info.source, k->plugin_file});
      out.push_back({{"name", k->info.name}, {"title", k->info.title}, {"source", k->info.source}, {"plugin", k->plugin_file}});
    }
    if (line.flag("--json")) {
      print_json(out);
    } else {
      std::vector<std::string> header{"analysis", "what", "source"};
      if (std::any_of(rows.begin(), rows.end(), [](const auto& r) { return !r.back().empty(); })) header.push_back("plug-in");
      print_table(header, rows);
    }
    for (const std::string& p : known.problems) std::fprintf(stderr, "microtome: warning: %s\n", p.c_str());
    return 0;
  }
  const AnalysisKind* k = &app::find_analysis(known, line.word(0), "analyses");
  const ParamSchema& schema = k->schema;
  auto type = [](const ParamSpec& p) {
    switch (p.type) {
      case ParamSpec::Type::kBool: return "bool";
      case ParamSpec::Type::kInt: return "int";
      case ParamSpec::Type::kFloat: return "float";
      case ParamSpec::Type::kChoice: return "choice";
      default: return "string";
    }
  };
  if (line.flag("--json")) {
    Json out = {{"name", k->info.name}, {"version", k->info.version}, {"title", k->info.title}, {"definition", k->info.definition}, {"source", k->info.source}, {"plugin", k->plugin_file}};
    for (const ParamSpec& p : schema.specs)
      out["parameters"].push_back({{"name", p.name}, {"type", type(p)}, {"default", param_text(p.fallback)}, {"choices", p.choices}, {"help", p.help}, {"affects", p.affects_answer ? "answer" : "cost"}});
    for (const OutputInfo& o : k->info.outputs) out["outputs"].push_back({{"name", o.name}, {"axes", o.axes}, {"help", o.help}});
    print_json(out);
    return 0;
  }
  std::string from = k->plugin_file.empty() ? "" : "\nPlug-in: " + k->plugin_file;
  std::printf("%s: %s\n\n%s\nSource: %s%s\n\nParameters (each is a flag of `microtome run %s`, with - or _):\n", k->info.name.c_str(),
              k->info.title.c_str(), k->info.definition.c_str(), k->info.source.c_str(), from.c_str(), k->info.name.c_str());
  std::vector<std::vector<std::string>> rows;
  for (const ParamSpec& p : schema.specs) {
    std::string range = join(p.choices, "|");
    if (p.min && p.max) range = number_text(*p.min) + "…" + number_text(*p.max);
    rows.push_back({"--" + p.name, type(p), param_text(p.fallback), range, p.help + (p.affects_answer ? "" : " (cost only)")});
  }
  print_table({"flag", "type", "default", "values", "meaning"}, rows);
  std::printf("\nOutputs:\n");
  rows.clear();
  for (const OutputInfo& o : k->info.outputs) rows.push_back({o.name, "[" + join(o.axes, ",") + "]", o.help});
  print_table({"name", "axes", "meaning"}, rows);
  return 0;
}

int tasks(const CommandLine& line) {
  if (line.words.empty()) {
    std::vector<std::vector<std::string>> rows;
    Json out = Json::array();
    for (const TaskInfo& t : task_list()) {
      rows.push_back({t.name, join(t.aliases, ", "), t.metric, t.description});
      out.push_back({{"name", t.name}, {"aliases", t.aliases}, {"metric", t.metric}, {"description", t.description}, {"source", t.source}});
    }
    if (line.flag("--json")) print_json(out);
    else print_table({"task", "alias", "metric", "clean and corrupted"}, rows);
    return 0;
  }
  const TaskInfo* t = find_task(line.word(0));
  if (!t) {
    std::vector<std::string> known;
    for (const TaskInfo& k : task_list()) known.push_back(k.name);
    throw Error(StatusCode::kNotFound, "there is no task '" + line.word(0) + "'", "tasks", "known are " + join(known, ", "));
  }
  if (!line.has("--generate")) {
    std::printf("%s: %s\n%s\nMetric: %s\nSource: %s\n", t->name.c_str(), t->title.c_str(), t->description.c_str(), t->metric.c_str(), t->source.c_str());
    return 0;
  }
  if (!line.has("--model"))
    throw Error(StatusCode::kBadInput, "prompts need a tokenizer: words are chosen to be single tokens", "tasks", "give --model FOLDER");
  auto tokenizer = Tokenizer::open_folder(line.get("--model")).value();
  if (!tokenizer) throw Error(StatusCode::kNotFound, "the folder holds no tokenizer.json", line.get("--model"), "choose another model");
  GenerateOptions o;
  o.count = static_cast<int64_t>(std::stod(line.get("--generate")));
  o.seed = static_cast<uint64_t>(std::stod(line.get("--seed", "0")));
  o.templates = line.get("--templates", "known");
  o.set = key_values(line.list("--set"), "--set");
  o.bos = bos_mode(line.get("--bos", "auto"));
  Dataset d = generate_task(line.word(0), *tokenizer, o).value();
  for (const std::string& w : d.warnings) std::fprintf(stderr, "microtome: warning: %s\n", w.c_str());
  Status s = write_dataset(line.get("--out", "/dev/stdout"), d);
  if (!s) throw Error(s);
  if (line.has("--out")) std::fprintf(stderr, "%zu pairs in %s\n", d.pairs.size(), line.get("--out").c_str());
  return 0;
}

}  // namespace microtome::cli
