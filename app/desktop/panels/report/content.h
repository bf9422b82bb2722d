// content.h — what a report holds, made into pages step by step: each step is short, so that the window stays alive while a
// long report is put together.
#pragma once

#include <QPointer>
#include <QString>
#include <functional>
#include <memory>
#include <vector>

#include "app/desktop/views/report_pages.h"
#include "app/desktop/views/view.h"
#include "app/report/report.h"

namespace microtome::desktop {

struct ReportContent {
  QString title, question, notes;      // notes: Markdown
  std::vector<QPointer<View>> pictures;   // as they stand on the screen
  QStringList pictureNotes;            // one a picture, may be empty
  std::vector<ReportRun> runs;
};

// The steps that fill `pages` with `content`; both must outlive them. Run them in order, in the GUI thread.
std::vector<std::function<void()>> reportSteps(std::shared_ptr<const ReportContent> content, std::shared_ptr<ReportPages> pages);
QString reportFooter(const ReportContent& content);

}  // namespace microtome::desktop
