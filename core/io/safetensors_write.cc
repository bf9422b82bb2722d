#include <algorithm>
#include <set>

#include "core/base/atomic_file.h"
#include "core/base/json.h"
#include "core/base/quote.h"
#include "core/io/safetensors.h"

namespace microtome {
namespace {

// Length, header, and the tensors in the order in which their bytes follow.
struct Layout {
  std::string head;
  std::vector<const TensorToWrite*> order;
};

void check_tensor(const TensorToWrite& t) {
  uint64_t bytes = dtype_size(t.dtype);
  bool overflow = false;
  for (const int64_t dim : t.shape)
    overflow |= dim < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes);
  if (overflow || bytes != t.data.size())
    throw Error(StatusCode::kInternal, "tensor " + in_quotes(t.name) + " to be written holds " +
                std::to_string(t.data.size()) + " bytes, which its shape and dtype do not make");
  if (t.name == "__metadata__")
    throw Error(StatusCode::kInternal, "a tensor to be written is named '__metadata__', which the format reserves");
}

Layout lay_out(const std::vector<TensorToWrite>& tensors, const std::map<std::string, std::string>& metadata) {
  Layout out;
  std::set<std::string_view> names;
  for (const TensorToWrite& t : tensors) {
    check_tensor(t);
    if (!names.insert(t.name).second)
      throw Error(StatusCode::kInternal, "tensor " + in_quotes(t.name) + " is to be written twice");
    out.order.push_back(&t);
  }
  // Wide elements first: every tensor is then aligned to its own element, since the header ends on a multiple of 8.
  std::stable_sort(out.order.begin(), out.order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    return dtype_size(a->dtype) > dtype_size(b->dtype);
  });
  auto text_json = [](const std::string& text) {
    try {
      return Json(text).dump();
    } catch (const Json::exception&) {
      throw Error(StatusCode::kBadInput, "the text " + in_quotes(text, 60) + " to be written is not UTF-8");
    }
  };
  std::string header = "{";
  auto comma = [&] {
    if (header.size() > 1) header += ',';
  };
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (bool first = true; const auto& [key, value] : metadata) {
      if (!std::exchange(first, false)) header += ',';
      header += text_json(key) + ':' + text_json(value);
    }
    header += '}';
  }
  uint64_t at = 0;
  for (const TensorToWrite* t : out.order) {
    comma();
    Json entry = {{"dtype", dtype_name(t->dtype)}, {"shape", t->shape}, {"data_offsets", {at, at + t->data.size()}}};
    header += text_json(t->name) + ':' + entry.dump();
    at += t->data.size();
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  for (int i = 0; i < 8; ++i) out.head += static_cast<char>(static_cast<uint8_t>(header.size() >> (8 * i)));
  out.head += header;
  return out;
}

}  // namespace

std::vector<uint8_t> safetensors_bytes(const std::vector<TensorToWrite>& tensors,
                                       const std::map<std::string, std::string>& metadata) {
  const Layout layout = lay_out(tensors, metadata);
  size_t total = layout.head.size();
  for (const TensorToWrite* t : layout.order) total += t->data.size();
  std::vector<uint8_t> out;
  out.reserve(total);
  out.insert(out.end(), layout.head.begin(), layout.head.end());
  for (const TensorToWrite* t : layout.order) out.insert(out.end(), t->data.begin(), t->data.end());
  return out;
}

Status write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  return catch_status([&] {
    const Layout layout = lay_out(tensors, metadata);
    AtomicFile file = AtomicFile::create(path).value();
    auto must = [](Status s) {
      if (!s) throw Error(std::move(s));
    };
    must(file.write(layout.head.data(), layout.head.size()));
    for (const TensorToWrite* t : layout.order) must(file.write(t->data.data(), t->data.size()));
    must(file.commit());
  });
}

}  // namespace microtome
