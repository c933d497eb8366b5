#include "command_line.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "copy.hpp"
#include "create.hpp"
#include "create_arguments.hpp"
#include "identity.hpp"
#include "image_commands.hpp"
#include "inspect.hpp"
#include "key.hpp"
#include "sign.hpp"
#include "verify.hpp"

namespace tool {
namespace {

using base::Result;
namespace fs = std::filesystem;

/// "shop.bundle/" and "./shop.bundle" are shop.bundle.
fs::path tidy(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() || normal == normal.root_path() ? normal : normal.parent_path();
}

class CommandLine {
 public:
  CommandLine() {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", "bundle-tool " OU_VERSION);
    app_.footer("Exit status:\n" + exit_code_table() +
                "Each command has its own --help with examples.");
    add_key();
    add_create();
    add_sign();
    add_verify();
    add_inspect();
    add_copy();
    add_identity();
    image_.add_to(app_, [this](CLI::App& parent, const std::string& name,
                               const std::string& description, Command command) {
      return add(parent, name, description, std::move(command));
    });
  }

  int run(int count, const char* const* arguments) {
    for (int i = 1; i < count; ++i) {
      json_ = json_ || std::string_view(arguments[i]) == "--json";
    }
    try {
      app_.parse(count, arguments);
    } catch (const CLI::ParseError& problem) {
      if (problem.get_exit_code() == 0) {
        return app_.exit(problem);  // --help, --version
      }
      return fail({base::ErrorCode::kUsage, base::printable(problem.what(), 400) +
                                                " (see bundle-tool" + chosen_name() + " --help)"});
    }
    Console console(Console::detect(quiet_));
    auto outcome = command_(console);
    console.finish();
    if (!outcome) {
      return fail(outcome.error());
    }
    std::cout << (json_ ? outcome->json + "\n" : outcome->text) << std::flush;
    if (!std::cout) {
      return static_cast<int>(ExitCode::kFailed);
    }
    return static_cast<int>(outcome->exit);
  }

 private:
  std::string chosen_name() const {
    const auto chosen = app_.get_subcommands();
    return chosen.empty() ? "" : " " + chosen.front()->get_name();
  }

  int fail(const base::Error& error) {
    if (json_) {
      const base::Json json = {{"error",
                                {{"code", static_cast<int>(error.code())},
                                 {"name", base::name_of(error.code())},
                                 {"message", error.message()}}}};
      std::cout << base::to_canonical(json) << std::endl;
    } else {
      std::cerr << "bundle-tool: " << error.message() << std::endl;
    }
    return static_cast<int>(exit_code_of(error.code()));
  }

  CLI::App* add(CLI::App& parent, const std::string& name, const std::string& description,
                Command command) {
    CLI::App* added = parent.add_subcommand(name, description);
    added->add_flag("--json", json_, "print one JSON object instead of text");
    added->add_flag("--quiet", quiet_, "no progress and no notes");
    added->callback([this, command = std::move(command)] { command_ = command; });
    return added;
  }

  static void add_trust(CLI::App& command, std::vector<std::string>& trust,
                        const std::string& description) {
    command.add_option("--trust", trust, description)
        ->type_name("FILE|KEY")
        ->allow_extra_args(false);
  }

  static void add_password_file(CLI::App& command, fs::path& path) {
    command
        .add_option("--password-file", path,
                    "file whose first line is the password (default: "
                    "$OFFLINE_UPDATER_KEY_PASSWORD, else asked for)")
        ->type_name("FILE");
  }

  void add_key() {
    CLI::App* key = app_.add_subcommand("key", "make signing keys");
    key->require_subcommand(1);
    CLI::App* command = add(*key, "generate",
                            "make a key pair: NAME.key (secret) and NAME.pub, as minisign has them",
                            [this](Console&) { return key_generate(key_); });
    command->add_option("NAME", key_.name, "name of the two files, without ending")->required();
    command->add_flag("--no-password", key_.no_password, "do not encrypt the secret key");
    add_password_file(*command, key_.password_file);
    command->footer(
        "Examples:\n"
        "  bundle-tool key generate owner\n"
        "  bundle-tool key generate ci --no-password");
    key->footer("Example:\n  bundle-tool key generate owner");
  }

  void add_create() {
    CLI::App* command =
        add(app_, "create", "build a bundle from images and a description of the release",
            [this](Console& console) -> Result<Outcome> {
              OU_TRY(CreateOptions options, finish(create_));
              options.output = tidy(options.output);
              return create(options, console);
            });
    add_create_options(*command, create_);
  }

  void add_sign() {
    CLI::App* command = add(app_, "sign", "add a signature to a bundle", [this](Console&) {
      sign_.bundle = tidy(sign_.bundle);
      return sign(sign_);
    });
    command->add_option("--sign-key", sign_.sign_keys, "secret key; as often as needed")
        ->type_name("KEY")
        ->required()
        ->allow_extra_args(false);
    add_password_file(*command, sign_.password_file);
    command->add_option("BUNDLE", sign_.bundle, "the bundle to sign")->required();
    command->footer(
        "Look at what you sign first: bundle-tool inspect, and bundle-tool verify if it is "
        "signed.\n"
        "Example:\n"
        "  bundle-tool sign --sign-key second.key shop-7.bundle");
  }

  void add_verify() {
    CLI::App* command = add(app_, "verify", "check the signatures and every byte of a bundle",
                            [this](Console& console) {
                              verify_.bundle = tidy(verify_.bundle);
                              return verify(verify_, console);
                            });
    add_trust(
        *command, verify_.trust,
        "trust file, .pub file or public key; as often as needed; the highest threshold counts");
    command->get_option("--trust")->required();
    command->add_option("--threads", verify_.threads, "0: as many as there are processors")
        ->check(CLI::Range(0U, 256U))
        ->capture_default_str();
    command->add_option("BUNDLE", verify_.bundle, "the bundle to verify")->required();
    command->footer(
        "Examples:\n"
        "  bundle-tool verify --trust owner.pub shop-7.bundle\n"
        "  bundle-tool verify --trust device-trust.txt --json /media/stick/shop-7.bundle");
  }

  void add_inspect() {
    CLI::App* command =
        add(app_, "inspect", "show what a bundle holds and whom it is for", [this](Console&) {
          inspect_.bundle = tidy(inspect_.bundle);
          return inspect(inspect_);
        });
    add_trust(*command, inspect_.trust, "verify the signatures against this; as often as needed");
    command->add_option("BUNDLE", inspect_.bundle, "the bundle to look at")->required();
    command->footer(
        "Examples:\n"
        "  bundle-tool inspect shop-7.bundle\n"
        "  bundle-tool inspect --trust owner.pub --json shop-7.bundle");
  }

  void add_copy() {
    CLI::App* command =
        add(app_, "copy", "copy a bundle to a mounted medium and prove that it arrived",
            [this](Console& console) {
              copy_.bundle = tidy(copy_.bundle);
              copy_.destination = tidy(copy_.destination);
              return copy(copy_, console);
            });
    add_trust(*command, copy_.trust, "verify the signatures first; as often as needed");
    command->add_flag("--force", copy_.force, "replace another bundle of the same name");
    command->add_option("BUNDLE", copy_.bundle, "the bundle to copy")->required();
    command->add_option("DESTINATION", copy_.destination, "directory that the medium is mounted on")
        ->required();
    command->footer(
        "A copy that was interrupted goes on where it was when the same command is run again.\n"
        "Example:\n"
        "  bundle-tool copy shop-7.bundle /media/stick");
  }

  void add_identity() {
    CLI::App* identity = app_.add_subcommand("identity", "open what devices sealed for you");
    identity->require_subcommand(1);
    identity->footer(
        "Example:\n  bundle-tool identity open --key owner-identity.key shop-7.identity");
    CLI::App* keygen = add(*identity, "keygen",
                           "make a key pair for sealed exports: FILE.key (secret) and FILE.pub",
                           [this](Console&) { return identity_keygen(identity_keygen_); });
    keygen->add_option("--output", identity_keygen_.output, "the secret key, ending in .key")
        ->type_name("FILE.key")
        ->required();
    keygen->add_flag("--no-password", identity_keygen_.no_password,
                     "do not encrypt the secret key");
    add_password_file(*keygen, identity_keygen_.password_file);
    keygen->footer("Example:\n  bundle-tool identity keygen --output owner-identity.key");
    CLI::App* open =
        add(*identity, "open", "read what offline-updater-agent identity export has sealed",
            [this](Console&) { return identity_open(identity_open_); });
    open->add_option("--key", identity_open_.key, "the secret key")->type_name("FILE")->required();
    add_password_file(*open, identity_open_.password_file);
    open->add_option("--output", identity_open_.output, "new directory to write the files to")
        ->type_name("DIRECTORY");
    open->add_option("EXPORT", identity_open_.file, "the sealed file")->required();
    open->footer(
        "Examples:\n"
        "  bundle-tool identity open --key owner-identity.key shop-7.identity\n"
        "  bundle-tool identity open --key owner-identity.key --output shop-7 shop-7.identity");
  }

  CLI::App app_{
      "Makes, signs, checks and copies bundles: signed releases that balena devices install "
      "from a USB medium. Needs no root, no Docker and no network.",
      "bundle-tool"};
  bool json_ = false;
  bool quiet_ = false;
  Command command_;
  KeyGenerateOptions key_;
  CreateArguments create_;
  SignOptions sign_;
  VerifyOptions verify_;
  InspectOptions inspect_;
  CopyOptions copy_;
  IdentityKeygenOptions identity_keygen_;
  IdentityOpenOptions identity_open_;
  ImageCommands image_;
};

}  // namespace

int run_command_line(int count, const char* const* arguments) {
  // A reader that goes away is an error to report, not a reason to vanish with half a bundle.
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  try {
    return CommandLine().run(count, arguments);
  } catch (const std::exception& problem) {
    static_cast<void>(std::fprintf(stderr, "bundle-tool: internal error: %s\n", problem.what()));
    return static_cast<int>(ExitCode::kFailed);
  }
}

}  // namespace tool
