#include "app/desktop/panels/jobs/job_table.h"

#include <QAbstractItemView>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

bool isActive(const JobSnapshot& job) { return job.state == JobState::kQueued || job.state == JobState::kRunning; }

// What the work said of itself before it was done; empty: nothing.
std::string warned(const JobSnapshot& job) { return job.progress.warnings.empty() ? std::string() : "Warning: " + job.progress.warnings.front(); }

QString stateText(const JobSnapshot& job) {
  switch (job.state) {
    case JobState::kQueued: return JobTable::tr("queued");
    case JobState::kRunning: return JobTable::tr("running");
    case JobState::kDone: return JobTable::tr("done");
    case JobState::kFailed: return JobTable::tr("failed");
    default: return JobTable::tr("cancelled");
  }
}

}  // namespace

bool JobTable::isShown(const JobSnapshot& job) {
  if (job.lane != "store" && job.lane != "light") return true;
  return job.state == JobState::kFailed || (job.state != JobState::kQueued && job.progress.elapsed_s > kHousekeepingS);
}

void JobTable::setJobs(const std::vector<JobSnapshot>& jobs) {
  std::vector<JobSnapshot> fresh;
  for (auto it = jobs.rbegin(); it != jobs.rend() && fresh.size() < kMost; ++it)
    if (isShown(*it)) fresh.push_back(*it);
  std::sort(fresh.begin(), fresh.end(), [](const JobSnapshot& a, const JobSnapshot& b) { return a.id > b.id; });
  const auto same = [](const JobSnapshot& a, const JobSnapshot& b) { return a.id == b.id; };
  size_t head = 0, tail = 0;
  while (head < jobs_.size() && head < fresh.size() && same(jobs_[head], fresh[head])) ++head;
  while (tail < jobs_.size() - head && tail < fresh.size() - head &&
         same(jobs_[jobs_.size() - 1 - tail], fresh[fresh.size() - 1 - tail]))
    ++tail;
  if (const size_t gone = jobs_.size() - head - tail; gone > 0) {
    beginRemoveRows({}, static_cast<int>(head), static_cast<int>(head + gone - 1));
    jobs_.erase(jobs_.begin() + static_cast<ptrdiff_t>(head), jobs_.begin() + static_cast<ptrdiff_t>(head + gone));
    endRemoveRows();
  }
  if (const size_t added = fresh.size() - head - tail; added > 0) {
    beginInsertRows({}, static_cast<int>(head), static_cast<int>(head + added - 1));
    jobs_.insert(jobs_.begin() + static_cast<ptrdiff_t>(head), fresh.begin() + static_cast<ptrdiff_t>(head),
                 fresh.begin() + static_cast<ptrdiff_t>(head + added));
    endInsertRows();
  }
  jobs_ = std::move(fresh);
  if (!jobs_.empty()) Q_EMIT dataChanged(index(0, 0), index(static_cast<int>(jobs_.size()) - 1, kColumns - 1));
}

const JobSnapshot* JobTable::job(const QModelIndex& index) const {
  return index.isValid() && static_cast<size_t>(index.row()) < jobs_.size() ? &jobs_[static_cast<size_t>(index.row())] : nullptr;
}

int JobTable::rowCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : static_cast<int>(jobs_.size()); }
int JobTable::columnCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : kColumns; }

QVariant JobTable::data(const QModelIndex& index, int role) const {
  const JobSnapshot* job = this->job(index);
  if (!job) return {};
  if (role == kFailedRole) return job->state == JobState::kFailed;
  if (role == kActiveRole) return isActive(*job);
  if (role == kProgressRole)
    return job->state == JobState::kRunning ? QVariant(std::isfinite(job->progress.fraction) ? job->progress.fraction : 0.0)
                                            : QVariant();
  if (role == Qt::TextAlignmentRole && (index.column() == kElapsed || index.column() == kLeft))
    return QVariant(Qt::AlignRight | Qt::AlignVCenter);
  const bool failed = job->state == JobState::kFailed;
  if (role == Qt::ToolTipRole) {
    if (failed) return tipText(labelText(job->status.text(), 1000));
    return index.column() == kCancel && isActive(*job) ? tr("Cancel (Del): what was computed is kept")
                                                       : tipText(labelText(job->title + (warned(*job).empty() ? "" : "\n" + warned(*job)), 1000));
  }
  if (role != Qt::DisplayRole) return {};
  switch (index.column()) {
    case kTitle: return labelText(job->title, 200);
    case kState: return stateText(*job);
    case kWhat: return labelText(failed ? job->status.text() : isActive(*job) && warned(*job).empty() ? job->progress.what : warned(*job), 300);
    case kElapsed: return job->state == JobState::kQueued ? QString() : durationText(job->progress.elapsed_s);
    case kLeft: return job->state == JobState::kRunning && job->progress.left_s >= 0 ? durationText(job->progress.left_s) : QString();
    case kLane: return labelText(job->lane, 40);
    case kCancel: return isActive(*job) ? tr("Cancel") : QString();
    default: return {};
  }
}

QVariant JobTable::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal) return {};
  if (role == Qt::TextAlignmentRole)
    return QVariant((section == kElapsed || section == kLeft ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter);
  if (role == Qt::ToolTipRole && section == kLane)
    return tr("Where it runs: jobs of one lane wait for one another, but for cpu, which runs two at a time");
  if (role != Qt::DisplayRole) return {};
  const QString names[] = {tr("Job"), tr("State"), tr("Doing"), tr("Time"), tr("Left"), tr("Lane"), QString()};
  return section >= 0 && section < kColumns ? names[section] : QString();
}

QSize JobDelegate::sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const {
  return QStyledItemDelegate::sizeHint(option, index) + QSize(2 * kGrid, 0);
}

void JobDelegate::paint(QPainter* painter, const QStyleOptionViewItem& option, const QModelIndex& index) const {
  QPainter& p = *painter;
  const Theme& t = Theme::of(option.palette);
  const bool selected = option.state & QStyle::State_Selected;
  const bool failed = index.data(JobTable::kFailedRole).toBool();
  p.save();
  if (selected) p.fillRect(option.rect, t.accentSoft);
  // The whole row has the focus, not one of its cells.
  const auto* view = qobject_cast<const QAbstractItemView*>(option.widget);
  if (view && view->hasFocus() && view->currentIndex().row() == index.row() && index.column() == JobTable::kTitle)
    p.fillRect(QRect(option.rect.topLeft(), QSize(2, option.rect.height())), t.accent);
  QRect rect = option.rect.adjusted(kGrid, 0, -kGrid, 0);
  p.setFont(option.font);
  const QString text = index.data().toString();
  const QVariant progress = index.data(JobTable::kProgressRole);
  if (index.column() == JobTable::kState && progress.isValid()) {
    const double share = std::clamp(progress.toDouble(), 0.0, 1.0);
    const QString words = QStringLiteral("%1 %").arg(static_cast<int>(share * 100));
    const int width = p.fontMetrics().horizontalAdvance(QStringLiteral("100 %"));
    p.setPen(t.text);
    p.drawText(rect, Qt::AlignRight | Qt::AlignVCenter, words);
    p.setRenderHint(QPainter::Antialiasing);
    p.setPen(Qt::NoPen);
    const QRectF bar(rect.left(), rect.center().y() - 2.5, std::max(kGrid, rect.width() - width - kGrid), 6);
    p.setBrush(t.faint);
    p.drawRoundedRect(bar, 3, 3);
    p.setBrush(t.accent);
    if (share > 0) p.drawRoundedRect(QRectF(bar.left(), bar.top(), std::max(6.0, bar.width() * share), bar.height()), 3, 3);
  } else if (index.column() == JobTable::kCancel) {
    if (!text.isEmpty()) {
      const QRect box = option.rect.adjusted(kGrid / 2, 2, -kGrid / 2, -2);
      p.setRenderHint(QPainter::Antialiasing);
      p.setPen(option.state & QStyle::State_MouseOver ? t.accent : t.faint);
      p.setBrush(t.raised);
      p.drawRoundedRect(QRectF(box).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4);
      p.setPen(t.text);
      p.drawText(box, Qt::AlignCenter, text);
    }
  } else {
    const bool quiet = index.column() != JobTable::kTitle && index.column() != JobTable::kElapsed;
    const bool tells = failed && (index.column() == JobTable::kState || index.column() == JobTable::kWhat);
    p.setPen(tells ? t.error : quiet && !selected ? t.muted : t.text);
    const int align = index.data(Qt::TextAlignmentRole).isValid() ? index.data(Qt::TextAlignmentRole).toInt()
                                                                  : static_cast<int>(Qt::AlignLeft | Qt::AlignVCenter);
    p.drawText(rect, align | Qt::TextSingleLine, p.fontMetrics().elidedText(text, Qt::ElideRight, rect.width()));
  }
  p.restore();
}

}  // namespace microtome::desktop
