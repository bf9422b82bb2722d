// files.h — what the formats share: tensors of a file taken by name and shape, dictionaries found in folders, output that is
// whole or absent, and forms of a dictionary that other programs can hold.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/dictionary/dictionary.h"
#include "core/io/safetensors.h"

namespace microtome::dictionary_formats {

// The tensors of one file on the way to a dictionary. Each is asked for once, by name; what is left at the end is an error,
// so that nothing is silently ignored.
class TensorSource {
 public:
  // Errors: kBadInput, naming the file. Tensors share the file's mapping.
  static TensorSource safetensors(const std::string& path);
  static TensorSource npz(const std::string& path);
  static TensorSource torch(const std::string& path);

  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  const std::string& where() const { return where_; }
  // Size of a dimension without taking the tensor. Throws where there is no such tensor or dimension.
  int64_t size(const std::string& name, int64_t dim, int64_t dims) const;
  // A tensor of floating-point numbers of that shape.
  at::Tensor take(const std::string& name, std::initializer_list<int64_t> shape);
  // A single whole or floating-point number, whatever its shape [] or [1].
  double number(const std::string& name);
  // A list of whole numbers.
  std::vector<int64_t> integers(const std::string& name);
  void drop(const std::string& name) { tensors_.erase(name); }
  // Throws kUnsupported naming what is left. what: "a topk dictionary of SAELens".
  void done(const std::string& what) const;

 private:
  const at::Tensor& find(const std::string& name) const;
  std::map<std::string, at::Tensor> tensors_;
  std::string where_;
};

// Sets the sizes from W_enc and W_dec, brings the weights to one type (the widest among them, without loss) and checks all.
void finish(Dictionary& d, const std::string& where);

// Folder of a path: itself, or the parent of a file called `marker`.
std::filesystem::path folder_of(const std::string& path, const std::string& marker);
// The last part of a path, "res" for "saes/res/".
std::string name_of(const std::filesystem::path& path);
// The folder itself where it has `marker`, else the folders below it that do, to a depth of four, in natural order ("l2"
// before "l10"). Hidden folders and links to folders are left out. At most `most`; never throws.
std::vector<std::filesystem::path> folders_with(const std::filesystem::path& folder, const std::string& marker, size_t most = 4096);
// Whether there is one. A folder with a config.yaml is a whole of circuit-tracer's: what lies below belongs to that.
bool holds(const std::string& path, const std::string& marker);
// Reads each of them; throws kBadInput where there is none. format: its name. Members are in order of layer.
DictionarySet read_folders(const std::string& path, const std::string& marker, const std::string& format,
                           const std::function<Dictionary(const std::filesystem::path& folder)>& read);
void sort_members(DictionarySet& set);
// A name for a folder of the output: letters, digits, '.', '_' and '-', and none twice.
std::string unique_name(std::string name, std::set<std::string>& used);
// An object from a JSON file that is configuration: at most 16 MiB.
Json read_config(const std::filesystem::path& file);

// A folder that is made as a whole: files go to a hidden neighbour, which takes the name at commit() and is removed without.
class NewFolder {
 public:
  explicit NewFolder(const std::string& path);       // throws kBadInput where it exists and is not empty
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  std::filesystem::path file(const std::string& relative);   // makes the folders on the way
  void commit();

 private:
  std::filesystem::path path_, temporary_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
// dtype: "bfloat16": that type where it holds every number as it is, else the tensors' own.
void write_tensors(const std::filesystem::path& file, const NamedTensors& tensors);
Dictionary in_file_type(const Dictionary& d);        // its weights in config.dtype where that loses nothing, and the name of what they are
std::string dtype_text(at::ScalarType type);         // "float32"

// The same function without a fixed input factor ("expected_average_only_in"): the factor moves into the weights, and with
// it, where it is not 1, the rescaling below.
Dictionary without_norm_factor(const Dictionary& d);
// The same function without rescaling by decoder norms: the norms move into the encoder, and the rows of W_dec have norm 1.
Dictionary without_rescaling(const Dictionary& d);
std::string in_block(int64_t layer, const std::string& point);   // "blocks.3.mlp.hook_in"
std::string after_block(const std::string& hook);                // "mlp.hook_in"; "" where it names no block

// Facts of ours that a file of others has no place for, under "microtome": hooks, model, weights_hash, k, nested, name.
Json own_facts(const DictionaryConfig& c);
void read_own_facts(const Json& object, const std::string& where, DictionaryConfig& c);
// A text field that may be absent or null.
std::string text_or_empty(const Json& object, const char* key, const std::string& where);

}  // namespace microtome::dictionary_formats
