#include "app/desktop/views/tensor_worker.h"

#include <QPointer>
#include <QThreadPool>

#include "core/base/status.h"

namespace microtome::desktop {

// Made and deleted in the GUI thread; the worker writes `cut` and then posts.
struct TensorWorker::Job : QObject {
  QPointer<TensorWorker> owner;
  Wish wish;
  std::atomic<bool> stop{false};
  TensorCut cut;
};

void TensorWorker::start(std::shared_ptr<const TensorMap> map, int array, const TensorSlice& slice,
                         const std::optional<std::pair<double, double>>& known) {
  Wish wish{std::move(map), array, slice, known};
  if (job_) {
    next_ = std::move(wish);
    return;
  }
  Job* job = new Job;
  job->owner = this;
  job->wish = std::move(wish);
  job->cut.array = array;
  job->cut.slice = slice;
  job_ = job;
  QThreadPool::globalInstance()->start([job] {
    const Wish& w = job->wish;
    const Status status = catch_status([&] { job->cut = cutArray(*w.map, w.array, w.slice, w.known, job->stop); });
    if (!status) job->cut.values = nullptr;
    QMetaObject::invokeMethod(job, [job] {
      if (job->owner) job->owner->done(*job);
      job->deleteLater();
    }, Qt::QueuedConnection);
  });
}

void TensorWorker::stop() {
  next_.reset();
  if (!job_) return;
  job_->stop = true;
  job_->owner = nullptr;
  job_ = nullptr;
}

void TensorWorker::done(Job& job) {
  if (job_ != &job) return;
  job_ = nullptr;
  // The next begins before this one is shown, so that busy() tells the truth meanwhile.
  if (std::optional<Wish> wish = std::exchange(next_, std::nullopt)) {
    if (!wish->known && wish->array == job.cut.array && job.cut.values) wish->known = job.cut.range;
    start(wish->map, wish->array, wish->slice, wish->known);
  }
  Q_EMIT finished(job.cut);
}

}  // namespace microtome::desktop
