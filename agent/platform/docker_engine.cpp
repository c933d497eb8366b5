// Each call is one or a few requests; engine_replies.cpp reads what comes back.
#include "platform/docker_engine.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/printable.hpp"
#include "platform/engine_replies.hpp"
#include "platform/pull_messages.hpp"
#include "platform/stall_watch.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;
using install::EngineContainer;
using install::EngineImage;

// Generous: an engine behind a slow disk has been seen to take 23 s for next to nothing.
constexpr std::chrono::minutes kCallTimeout{2};
constexpr std::chrono::minutes kRemoveTimeout{10};
constexpr int kOk = 200;
constexpr int kCreated = 201;
constexpr int kFirstError = 400;
constexpr int kNotFound = 404;

/// For paths and query values; '/' and ':' stay, as references are written with them.
std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kKept = "-._~/:@";
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool alphanumeric =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (alphanumeric || kKept.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 0xfU];
    }
  }
  return out;
}

Error refused(int status, std::string_view body) {
  return {ErrorCode::kEngine,
          "the engine answered " + std::to_string(status) + ": " + error_words(body)};
}

/// The body of a reply; nothing when what was asked for is not there.
base::Result<std::optional<std::string>> find(const oci::EngineHttp& http,
                                              const std::string& target) {
  OU_TRY(auto reply, http.call("GET", target, "", kCallTimeout));
  if (reply.status == kNotFound) {
    return std::optional<std::string>();
  }
  if (reply.status != kOk) {
    return refused(reply.status, reply.body);
  }
  return std::optional(std::move(reply.body));
}

base::Result<std::string> get(const oci::EngineHttp& http, const std::string& target) {
  OU_TRY(auto body, find(http, target));
  if (!body) {
    return Error(ErrorCode::kEngine, "the engine does not know " + target);
  }
  return *std::move(body);
}

/// Repository and tag of "repository:tag"; a colon before a slash belongs to a port.
std::pair<std::string, std::string> split_name(const std::string& name) {
  const auto colon = name.rfind(':');
  const auto slash = name.rfind('/');
  if (colon == std::string::npos || (slash != std::string::npos && colon < slash)) {
    return {name, "latest"};
  }
  return {name.substr(0, colon), name.substr(colon + 1)};
}

/// What to pull, as /images/create takes it: a digest goes where a tag would.
std::string create_target(const std::string& reference) {
  const auto at = reference.find('@');
  const auto [name, tag] = at == std::string::npos
                               ? split_name(reference)
                               : std::pair(reference.substr(0, at), reference.substr(at + 1));
  return "/images/create?fromImage=" + percent_encoded(name) + "&tag=" + percent_encoded(tag);
}

}  // namespace

base::Result<install::EngineFacts> DockerEngine::facts() {
  OU_TRY(const auto info, get(http_, "/info").within("ask the engine about itself"));
  OU_TRY(const auto version, get(http_, "/version").within("ask the engine's version"));
  return read_facts(info, version);
}

base::Result<std::vector<EngineImage>> DockerEngine::images() {
  OU_TRY(const auto list, get(http_, "/images/json?all=0").within("list images"));
  OU_TRY(auto listed, read_images(list).within("list images"));
  std::vector<EngineImage> images;
  for (auto& entry : listed) {
    auto image = find_image(entry.id.text());
    if (!image && image.error().code() == ErrorCode::kEngine) {
      base::log::warning("damaged: " + image.error().message());
      entry.damaged = true;
      images.push_back(std::move(entry));
      continue;
    }
    OU_TRY(auto found, std::move(image));
    if (found) {  // else it was removed meanwhile
      images.push_back(std::move(*found));
    }
  }
  return images;
}

base::Result<std::optional<EngineImage>> DockerEngine::find_image(const std::string& reference) {
  const std::string doing = "look for image " + base::printable(reference);
  OU_TRY(const auto document,
         find(http_, "/images/" + percent_encoded(reference) + "/json").within(doing));
  if (!document) {
    return std::optional<EngineImage>();
  }
  OU_TRY(auto image, read_image(*document).within(doing));
  return std::optional(std::move(image));
}

base::Status DockerEngine::pull(const std::string& reference, std::chrono::seconds stall_timeout,
                                const std::function<bool()>& alive, std::stop_token stop) {
  std::stop_source cancel;
  const std::stop_callback forward(stop, [&cancel] { cancel.request_stop(); });
  StallWatch watch(stall_timeout, alive, cancel);
  PullMessages messages;
  std::string first_bytes;  // of an error reply, should it turn out to be one
  const auto take = [&](base::ByteView piece) -> base::Status {
    watch.heard();
    first_bytes += base::as_text(piece).substr(
        0, kMaxEngineWords - std::min(kMaxEngineWords, first_bytes.size()));
    return messages.add(piece);
  };
  const auto status = http_.stream("POST", create_target(reference), take,
                                   std::chrono::milliseconds(0), cancel.get_token());
  if (watch.stalled()) {
    return Error(ErrorCode::kTimeout, "nothing happened for " +
                                          std::to_string(stall_timeout.count()) +
                                          " s, so the pull was cancelled");
  }
  if (!status) {
    return status.error();
  }
  if (*status >= kFirstError) {
    return refused(*status, first_bytes).as(ErrorCode::kEnginePull);
  }
  return messages.finish();
}

base::Status DockerEngine::tag(const oci::Digest& image, const std::string& name) {
  const auto [repository, tag] = split_name(name);
  const std::string doing = "name image " + image.text() + " " + base::printable(name);
  OU_TRY(const auto reply,
         http_
             .call("POST",
                   "/images/" + image.text() + "/tag?repo=" + percent_encoded(repository) +
                       "&tag=" + percent_encoded(tag),
                   "", kCallTimeout)
             .within(doing));
  return reply.status == kCreated ? base::ok()
                                  : base::Status(refused(reply.status, reply.body).within(doing));
}

base::Status DockerEngine::untag(const std::string& name) {
  return remove(name, "?noprune=1").within("remove the image name " + base::printable(name));
}

base::Status DockerEngine::remove_image(const oci::Digest& image) {
  return remove(image.text(), "?force=1").within("remove image " + image.text());
}

base::Status DockerEngine::remove(const std::string& reference, const char* options) {
  OU_TRY(const auto reply, http_.call("DELETE", "/images/" + percent_encoded(reference) + options,
                                      "", kRemoveTimeout));
  return reply.status == kOk || reply.status == kNotFound
             ? base::ok()
             : base::Status(refused(reply.status, reply.body));
}

base::Result<std::vector<EngineContainer>> DockerEngine::containers() {
  OU_TRY(const auto list, get(http_, "/containers/json?all=1").within("list containers"));
  OU_TRY(const auto ids, read_ids(list).within("list containers"));
  std::vector<EngineContainer> containers;
  for (const auto& id : ids) {
    const std::string doing = "look at container " + base::printable(id);
    OU_TRY(const auto document,
           find(http_, "/containers/" + percent_encoded(id) + "/json").within(doing));
    if (document) {  // else it was removed meanwhile
      OU_TRY(auto container, read_container(*document).within(doing));
      containers.push_back(std::move(container));
    }
  }
  return containers;
}

}  // namespace agent::platform
