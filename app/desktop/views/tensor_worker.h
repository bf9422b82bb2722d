// tensor_worker.h — cuts slices in a worker thread, one at a time; while one is under way only the latest wish is kept, so
// that a slider over a huge array shows where it is instead of all the places it passed.
#pragma once

#include <QObject>
#include <memory>
#include <optional>

#include "app/desktop/views/tensor_picture.h"

namespace microtome::desktop {

// GUI thread only.
class TensorWorker : public QObject {
  Q_OBJECT
 public:
  explicit TensorWorker(QObject* parent) : QObject(parent) {}
  ~TensorWorker() override { stop(); }
  // The map must hold the array and the slice must fit it.
  void start(std::shared_ptr<const TensorMap> map, int array, const TensorSlice& slice,
             const std::optional<std::pair<double, double>>& known);
  // What is under way is dropped: finished() does not come.
  void stop();
  bool busy() const { return job_ != nullptr; }

 Q_SIGNALS:
  // cut.values is null when there was not enough memory.
  void finished(const microtome::desktop::TensorCut& cut);

 private:
  struct Job;
  struct Wish {
    std::shared_ptr<const TensorMap> map;
    int array;
    TensorSlice slice;
    std::optional<std::pair<double, double>> known;
  };
  void done(Job& job);
  Job* job_ = nullptr;
  std::optional<Wish> next_;
};

}  // namespace microtome::desktop
