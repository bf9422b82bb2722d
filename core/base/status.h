// status.h — what a user, a file or a disk can cause comes back as a Status: a code, one clear sentence, and what
// to do. Inside tensor code checks throw (see Error); exceptions are caught by the job runner and the program's
// outermost frame only.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace microtome {

enum class StatusCode {
  kOk,
  kBadInput,      // a file, a value or an argument is wrong: exit status 2
  kNotFound,      // something named does not exist: exit status 2
  kUnsupported,   // well-formed, but not something this build can do: exit status 2
  kFailed,        // the work failed (disk full, out of memory, numerics): exit status 1
  kBusy,          // another process holds the project: exit status 1
  kCancelled,     // interrupted by the user: exit status 130
  kInternal,      // a defect of ours: exit status 1
};

// Immutable after construction; cheap to move. what: the sentence ("tensor 'x' has shape [2,3], expected [3,2]");
// where: the file, field or line; todo: the remedy, may be empty.
class Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string what, std::string where = {}, std::string todo = {})
      : code_(code), what_(std::move(what)), where_(std::move(where)), todo_(std::move(todo)) {}

  static Status ok() { return {}; }
  bool is_ok() const { return code_ == StatusCode::kOk; }
  explicit operator bool() const { return is_ok(); }
  StatusCode code() const { return code_; }
  const std::string& what() const { return what_; }
  const std::string& where() const { return where_; }
  const std::string& todo() const { return todo_; }

  // "WHAT (WHERE): TODO", the form cli.md prints behind "microtome: error: ".
  std::string text() const;
  // 0, 1, 2 or 130, as the command line contract says.
  int exit_code() const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string what_, where_, todo_;
};

// The exception form of a Status, for code that cannot return one (tensor code, deep parsers).
class Error : public std::runtime_error {
 public:
  explicit Error(Status status) : std::runtime_error(status.text()), status_(std::move(status)) {}
  Error(StatusCode code, std::string what, std::string where = {}, std::string todo = {})
      : Error(Status(code, std::move(what), std::move(where), std::move(todo))) {}
  const Status& status() const { return status_; }

 private:
  Status status_;
};

// A value or the reason there is none. value() on an error throws Error with that status.
template <class T>
class Result {
 public:
  Result(T value) : value_(std::move(value)) {}             // NOLINT: implicit by intent
  Result(Status status) : status_(std::move(status)) {}     // NOLINT: implicit by intent
  bool is_ok() const { return value_.has_value(); }
  explicit operator bool() const { return is_ok(); }
  const Status& status() const { return status_; }
  T& value() & { check(); return *value_; }
  const T& value() const& { check(); return *value_; }
  // By value, so that `for (x : f().value())` iterates over something that lives.
  T value() && { check(); return std::move(*value_); }
  T* operator->() { return &value(); }
  T& operator*() { return value(); }

 private:
  void check() const {
    if (!value_) throw Error(status_);
  }
  std::optional<T> value_;
  Status status_;
};

// Runs body and turns any exception into a Status (Error keeps its own; bad_alloc says so; others are kInternal).
template <class F>
Status catch_status(F&& body);
Status status_of_current_exception();
template <class F>
Status catch_status(F&& body) {
  try {
    body();
    return Status::ok();
  } catch (...) {
    return status_of_current_exception();
  }
}

}  // namespace microtome
