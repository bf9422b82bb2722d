// run_spec.h — what a run is (RunSpec) and the key of its answer (RunKey): a SHA-256 over tagged fields of all that
// affects the answer. The text that was hashed is kept, so that `explain` and `diff` can say why two runs differ.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace microtome {

// Everything needed to repeat a run. `params` has defaults filled in.
struct RunSpec {
  std::string analysis;
  int64_t analysis_version = 1;
  std::map<std::string, std::string> answer_params;   // affects: answer
  std::map<std::string, std::string> cost_params;     // affects: cost (not in the key)
  std::string model_path, model_name, family;         // the path is provenance, not key
  std::string weights_hash, tokenizer_hash;
  std::string dataset_name, dataset_hash;
  std::string form = "auto", dtype = "float32", bos = "auto";
  bool tf32 = false;
  uint64_t seed = 0;
  std::string interventions = "[]";                   // canonical JSON
  std::string plugin_hash;                            // empty: built in
  std::string command;                                // the command line that repeats it
  std::string device;                                 // provenance: "cpu", "cuda:0"
};

// fields: (tag, value) in a fixed order; text: one "tag=value" a line, values escaped; hash: SHA-256 of text.
struct RunKey {
  std::vector<std::pair<std::string, std::string>> fields;
  std::string text;
  std::string hash;
};
RunKey make_run_key(const RunSpec& spec);
// Parses a stored text back into fields.
std::vector<std::pair<std::string, std::string>> parse_key_text(const std::string& text);

}  // namespace microtome
