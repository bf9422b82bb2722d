#include "core/cache/activation_cache.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <list>
#include <optional>

#include "core/base/status.h"

namespace microtome {
namespace {

// A file without a name: it is unlinked as soon as it is open, so it vanishes with the process however that ends.
// Regions are given back and used again, first fit.
class ScratchFile {
 public:
  ~ScratchFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  int64_t write(const void* data, int64_t bytes) {
    open();
    const int64_t at = claim(bytes);
    const char* from = static_cast<const char*>(data);
    for (int64_t done = 0; done < bytes;) {
      const ssize_t n = ::pwrite(fd_, from + done, static_cast<size_t>(bytes - done), at + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        const int reason = n < 0 ? errno : ENOSPC;
        release(at, bytes);
        fail("cannot write " + std::to_string(bytes) + " bytes of captured activations", reason);
      }
      done += n;
    }
    return at;
  }

  void read(int64_t at, void* data, int64_t bytes) const {
    char* to = static_cast<char*>(data);
    for (int64_t done = 0; done < bytes;) {
      const ssize_t n = ::pread(fd_, to + done, static_cast<size_t>(bytes - done), at + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("cannot read captured activations back", n < 0 ? errno : EIO);
      done += n;
    }
  }

  void release(int64_t at, int64_t bytes) {
    if (bytes == 0) return;
    auto next = std::find_if(free_.begin(), free_.end(), [&](const Region& r) { return r.at > at; });
    auto here = free_.insert(next, {at, bytes});
    if (next != free_.end() && here->at + here->bytes == next->at) {
      here->bytes += next->bytes;
      free_.erase(next);
    }
    if (here != free_.begin()) {
      auto before = std::prev(here);
      if (before->at + before->bytes == here->at) {
        before->bytes += here->bytes;
        free_.erase(here);
      }
    }
    if (!free_.empty() && free_.back().at + free_.back().bytes == end_) {
      end_ = free_.back().at;
      free_.pop_back();
      // Failing to shorten only leaves the space taken until the file is closed.
      if (::ftruncate(fd_, end_) != 0) errno = 0;
    }
  }

 private:
  struct Region {
    int64_t at, bytes;
  };

  [[noreturn]] void fail(const std::string& what, int reason) const {
    throw Error(StatusCode::kFailed, what + ": " + std::strerror(reason), "temporary folder " + folder_,
                "free space there, or set TMPDIR to a folder that has some");
  }

  void open() {
    if (fd_ >= 0) return;
    std::error_code ec;
    folder_ = std::filesystem::temp_directory_path(ec).string();
    if (ec) fail("there is no temporary folder", ec.value());
    std::string name = folder_ + "/microtome-activations-XXXXXX";
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd_ < 0) fail("cannot make a temporary file", errno);
    ::unlink(name.c_str());
  }

  int64_t claim(int64_t bytes) {
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->bytes < bytes) continue;
      const int64_t at = it->at;
      it->at += bytes;
      it->bytes -= bytes;
      if (it->bytes == 0) free_.erase(it);
      return at;
    }
    const int64_t at = end_;
    end_ += bytes;
    return at;
  }

  int fd_ = -1;
  int64_t end_ = 0;
  std::string folder_;
  std::list<Region> free_;   // by offset, never adjacent
};

enum class Place { kDevice, kHost, kDisk };

struct Entry {
  std::string name;
  CachedTensor about;
  Place place = Place::kHost;
  at::Tensor value;                       // undefined on disk
  at::Device device = at::kCPU;           // of the capture
  at::ScalarType type = at::kFloat;
  std::vector<int64_t> shape;
  int64_t bytes = 0, offset = 0;
  bool pinned = false;                    // on an autograd graph: moving it would cut the graph
};

}  // namespace

struct ActivationCache::Impl {
  int64_t device_budget, host_budget;
  std::optional<at::ScalarType> type{};   // to keep values in
  int64_t used[3] = {0, 0, 0};
  std::list<Entry> entries;               // oldest first
  std::map<std::string, std::list<Entry>::iterator, std::less<>> index;
  ScratchFile file;

  int64_t& bytes(Place p) { return used[static_cast<int>(p)]; }

  const Entry& at_name(const std::string& name) const {
    auto it = index.find(name);
    if (it == index.end()) throw Error(StatusCode::kNotFound, "nothing was captured under this name", name);
    return *it->second;
  }

  void drop(std::list<Entry>::iterator it) {
    if (it->place == Place::kDisk) file.release(it->offset, it->bytes);
    bytes(it->place) -= it->bytes;
    index.erase(it->name);
    entries.erase(it);
  }

  void set_place(Entry& e, Place p) {
    bytes(e.place) -= e.bytes;
    e.place = p;
    bytes(p) += e.bytes;
  }

  void make_room() {
    at::NoGradGuard no_grad;
    for (Entry& e : entries) {
      if (bytes(Place::kDevice) <= device_budget) break;
      if (e.place != Place::kDevice || e.pinned) continue;
      e.value = e.value.to(at::kCPU);
      set_place(e, Place::kHost);
    }
    for (Entry& e : entries) {
      if (bytes(Place::kHost) <= host_budget) break;
      if (e.place != Place::kHost || e.pinned || e.bytes == 0) continue;
      at::Tensor whole = e.value.contiguous();
      e.offset = file.write(whole.const_data_ptr(), e.bytes);
      e.value.reset();
      set_place(e, Place::kDisk);
    }
  }
};

ActivationCache::ActivationCache(int64_t device_budget, int64_t host_budget) : impl_(std::make_unique<Impl>()) {
  impl_->device_budget = device_budget;
  impl_->host_budget = host_budget;
}
ActivationCache::~ActivationCache() = default;
ActivationCache::ActivationCache(ActivationCache&&) noexcept = default;
ActivationCache& ActivationCache::operator=(ActivationCache&&) noexcept = default;

void ActivationCache::keep_as(std::optional<at::ScalarType> type) { impl_->type = type; }

void ActivationCache::put(const std::string& name, at::Tensor value, CachedTensor about) {
  if (!value.defined()) throw Error(StatusCode::kInternal, "an undefined tensor was captured", name);
  erase(name);
  if (impl_->type && at::isFloatingType(value.scalar_type()) && !value.requires_grad()) value = value.to(*impl_->type);
  Entry e;
  e.name = name;
  e.about = std::move(about);
  e.device = value.device();
  e.type = value.scalar_type();
  e.shape = value.sizes().vec();
  e.pinned = value.requires_grad();
  e.place = value.is_cpu() ? Place::kHost : Place::kDevice;
  e.bytes = value.numel() * static_cast<int64_t>(value.element_size());
  // A small view would keep all of what it was cut from in memory, uncounted.
  const bool view_of_more = value.has_storage() && static_cast<int64_t>(value.storage().nbytes()) > 2 * e.bytes;
  e.value = !e.pinned && view_of_more ? value.clone(at::MemoryFormat::Contiguous) : std::move(value);
  impl_->entries.push_back(std::move(e));
  auto it = std::prev(impl_->entries.end());
  impl_->index[name] = it;
  impl_->bytes(it->place) += it->bytes;
  impl_->make_room();
}

bool ActivationCache::has(const std::string& name) const { return impl_->index.count(name) != 0; }

at::Tensor ActivationCache::get(const std::string& name) const {
  const Entry& e = impl_->at_name(name);
  if (e.place == Place::kDevice || (e.place == Place::kHost && e.device.is_cpu())) return e.value;
  at::NoGradGuard no_grad;
  at::Tensor value = e.value;
  if (e.place == Place::kDisk) {
    value = at::empty(e.shape, at::TensorOptions().dtype(e.type).device(at::kCPU));
    impl_->file.read(e.offset, value.mutable_data_ptr(), e.bytes);
  }
  return value.to(e.device);
}

const CachedTensor& ActivationCache::about(const std::string& name) const { return impl_->at_name(name).about; }

std::vector<std::string> ActivationCache::names() const {
  std::vector<std::string> out;
  for (const Entry& e : impl_->entries) out.push_back(e.name);
  return out;
}

void ActivationCache::erase(const std::string& name) {
  auto it = impl_->index.find(name);
  if (it != impl_->index.end()) impl_->drop(it->second);
}

int64_t ActivationCache::device_bytes() const { return impl_->bytes(Place::kDevice); }
int64_t ActivationCache::host_bytes() const { return impl_->bytes(Place::kHost); }
int64_t ActivationCache::disk_bytes() const { return impl_->bytes(Place::kDisk); }

}  // namespace microtome
