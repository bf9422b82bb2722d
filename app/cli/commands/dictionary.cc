// dictionary: sparse dictionaries in files of any known format, looked at and converted.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>

#include "app/cli/commands/commands.h"
#include "core/base/quote.h"
#include "core/dictionary/formats/format.h"

namespace microtome::cli {
namespace {

[[noreturn]] void usage(const std::string& what, const std::string& todo) { throw Error(StatusCode::kBadInput, what, "dictionary", todo); }

// Whether a dictionary belongs to the model of --model.
struct Fit {
  bool asked = false, fits = false;
  std::string note;                    // why not, or what speaks against it
};

Fit fit_of(const Dictionary& d, const LoadedModel* model, const std::string& hash) {
  if (!model) return {};
  Fit out{true, false, ""};
  try {
    out.note = check_against_model(d, *model->model, hash);
    out.fits = true;
  } catch (const Error& e) {
    if (e.status().code() != StatusCode::kBadInput) throw;
    out.note = e.status().text();
  }
  if (out.fits && d.config.hook_in.empty()) {
    out.fits = false;
    out.note = "it names no point of a model";
  }
  return out;
}

Json spread(const at::Tensor& values) {
  const at::Tensor v = values.to(at::kFloat).flatten();
  return {{"min", v.min().item<double>()}, {"median", v.median().item<double>()}, {"mean", v.mean().item<double>()}, {"max", v.max().item<double>()}};
}

std::string kind_text(const Dictionary& d) {
  const DictionaryConfig& c = d.config;
  std::string out = c.kind;
  if (c.skip) out += " skip";
  if (c.transcoder) out += d.has("W_dec_later") ? " cross-layer transcoder" : " transcoder";
  return out;
}

Json facts(const Dictionary& d, int64_t layer, const Fit& fit) {
  const DictionaryConfig& c = d.config;
  int64_t parameters = 0;
  for (const auto& [name, w] : d.weights) parameters += w.numel();
  Json out = {{"name", c.name}, {"kind", c.kind}, {"transcoder", c.transcoder}, {"skip", c.skip}, {"layer", layer < 0 ? Json(nullptr) : Json(layer)},
              {"hook_in", c.hook_in}, {"hook_out", c.hook_out}, {"d_in", c.d_in}, {"d_sae", c.d_sae}, {"d_out", c.d_out}, {"k", c.k}, {"nested", c.nested},
              {"apply_b_dec_to_input", c.apply_b_dec_to_input}, {"normalize", c.normalize}, {"rescale_acts_by_decoder_norm", c.rescale_acts_by_decoder_norm},
              {"model", c.model}, {"weights_hash", c.weights_hash}, {"dtype", c.dtype}, {"parameters", parameters}};
  out["later_layers"] = d.has("W_dec_later") ? d.weight("W_dec_later").size(0) : 0;
  out["decoder_norm"] = spread(d.weight("W_dec").to(at::kFloat).norm(2, {-1}));
  out["encoder_norm"] = spread(d.weight("W_enc").to(at::kFloat).norm(2, {0}));
  out["b_dec_norm"] = d.weight("b_dec").to(at::kFloat).norm().item<double>();
  if (d.has("threshold")) out["threshold"] = spread(d.weight("threshold"));
  if (fit.asked) out["fits_model"] = fit.fits;
  if (!fit.note.empty()) out["note"] = fit.note;
  return out;
}

std::string range_text(const Json& s) { return number_text(s["median"].get<double>()) + " (" + number_text(s["min"].get<double>()) + " to " + number_text(s["max"].get<double>()) + ")"; }
std::string hook_text(const std::string& hook) { return hook.empty() ? "–" : in_quotes(hook, 80).substr(1, in_quotes(hook, 80).size() - 2); }

void print_set(const DictionarySet& set, const std::vector<Json>& all) {
  std::printf("%s, %zu %s\n", set.format.c_str(), set.members.size(), set.members.size() == 1 ? "dictionary" : "dictionaries");
  std::vector<std::vector<std::string>> sizes, numbers;
  for (size_t i = 0; i < all.size(); ++i) {
    const Dictionary& d = set.members[i];
    const DictionaryConfig& c = d.config;
    const std::string name = in_quotes(c.name, 48);
    sizes.push_back({name, kind_text(d), c.k > 0 ? std::to_string(c.k) : "–", hook_text(c.hook_in), hook_text(c.hook_out), std::to_string(c.d_in), std::to_string(c.d_sae), std::to_string(c.d_out), c.dtype});
    numbers.push_back({name, range_text(all[i]["decoder_norm"]), range_text(all[i]["encoder_norm"]), number_text(all[i]["b_dec_norm"].get<double>()),
                       all[i].contains("threshold") ? range_text(all[i]["threshold"]) : "–"});
  }
  print_table({"name", "kind", "k", "reads", "writes", "d_in", "d_sae", "d_out", "type"}, sizes);
  std::printf("\n");
  print_table({"name", "decoder norms: median (range)", "encoder norms", "norm of b_dec", "thresholds"}, numbers);
  for (const Json& j : all)
    if (j.contains("fits_model")) {
      const std::string note = j.contains("note") ? j["note"].get<std::string>() : "";
      std::printf("\n%s %s%s%s\n", in_quotes(j["name"].get<std::string>(), 48).c_str(), j["fits_model"].get<bool>() ? "fits the model" : "does not fit the model",
                  note.empty() ? "" : ": ", note.c_str());
    }
}

int show(const CommandLine& line, const DictionarySet& set) {
  std::shared_ptr<const LoadedModel> model;
  std::string hash;
  if (line.has("--model")) {
    model = load_model(line.get("--model"), at::kCPU, at::kFloat, WeightKeep::kStream);
    for (const Dictionary& d : set.members)
      if (hash.empty() && !d.config.weights_hash.empty()) hash = model->checkpoint->weights_hash().value();
  }
  std::vector<Json> all;
  for (size_t i = 0; i < set.members.size(); ++i) all.push_back(facts(set.members[i], set.layers[i], fit_of(set.members[i], model.get(), hash)));
  if (line.flag("--json")) print_json({{"format", set.format}, {"name", set.name}, {"cross_layer", set.cross_layer()}, {"dictionaries", all}});
  else print_set(set, all);
  return 0;
}

int convert(const CommandLine& line, const DictionarySet& set) {
  if (!line.has("--to")) usage("'convert' needs --to", "for example --to saelens");
  if (!line.has("--out")) usage("'convert' needs --out", "name the folder to make");
  const std::string to = line.get("--to"), out = line.get("--out");
  write_dictionaries(set, to, out);
  std::fprintf(stderr, "%s: %zu %s, %s to %s\n", out.c_str(), set.members.size(), set.members.size() == 1 ? "dictionary" : "dictionaries", set.format.c_str(), to.c_str());
  return 0;
}

}  // namespace

int dictionary_command(const CommandLine& line) {
  const std::string operation = line.word(0);
  if (line.words.size() != 2) usage("'" + operation + "' takes one path", "name one folder");
  const bool converts = operation == "convert";
  for (const char* option : {"--to", "--out"})
    if (!converts && line.has(option)) usage(std::string(option) + " belongs to 'convert'", "leave it out");
  if (converts && line.has("--model")) usage("--model belongs to 'show'", "leave it out");
  const DictionarySet set = read_dictionaries(line.word(1), line.get("--from", "auto"));
  return converts ? convert(line, set) : show(line, set);
}

}  // namespace microtome::cli
