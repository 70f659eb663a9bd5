#include "net/tls_error.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "zsync/socket.hpp"

namespace zsync::net {
namespace {

constexpr size_t kNamesShown = 5;
constexpr size_t kIpv4Bytes = 4, kIpv6Bytes = 16;

std::string name_text(const X509_NAME* name) {
  const std::unique_ptr<BIO, OpenSslFree<::BIO_free>> out(::BIO_new(::BIO_s_mem()));
  if (!out || ::X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  char* bytes = nullptr;
  const long count = ::BIO_get_mem_data(out.get(), &bytes);
  return {bytes, static_cast<size_t>(std::max(0L, count))};
}

std::chrono::system_clock::time_point time_of(const ASN1_TIME* time) {
  tm parts{};
  if (::ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string day_of(const ASN1_TIME* time) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::FromChrono(time_of(time)),
                          absl::UTCTimeZone());
}

std::string address_text(const ASN1_OCTET_STRING& bytes) {
  if (bytes.length == kIpv4Bytes) {
    std::array<uint8_t, kIpv4Bytes> four;
    std::copy_n(bytes.data, four.size(), four.begin());
    return IpAddress::v4(four).to_string();
  }
  if (bytes.length != kIpv6Bytes) return {};
  std::array<uint8_t, kIpv6Bytes> sixteen;
  std::copy_n(bytes.data, sixteen.size(), sixteen.begin());
  return IpAddress::v6(sixteen).to_string();
}

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> names;
  const std::unique_ptr<GENERAL_NAMES, OpenSslFree<::GENERAL_NAMES_free>> all(
      static_cast<GENERAL_NAMES*>(
          ::X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    std::string text;
    if (name->type == GEN_DNS) {
      text.assign(reinterpret_cast<const char*>(::ASN1_STRING_get0_data(name->d.dNSName)),
                  static_cast<size_t>(::ASN1_STRING_length(name->d.dNSName)));
    } else if (name->type == GEN_IPADD) {
      text = address_text(*name->d.iPAddress);
    }
    if (!text.empty()) names.push_back(std::move(text));
  }
  return names;
}

std::string names_text(const X509* certificate) {
  std::vector<std::string> names = names_of(certificate);
  if (names.empty()) return "no host name at all";
  const size_t more = names.size() > kNamesShown ? names.size() - kNamesShown : 0;
  names.resize(names.size() - more);
  return absl::StrCat(absl::CHexEscape(absl::StrJoin(names, ", ")),
                      more ? absl::StrCat(" and ", more, " more") : "");
}

bool is_unknown_issuer(int verdict) {
  switch (verdict) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:  // one of the same name
      return true;
    default:
      return false;
  }
}

bool is_about_our_certificate(int reason) {
  switch (reason) {
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return true;
    default:
      return false;
  }
}

// What begins like this is no TLS.
bool is_not_tls(int reason) {
  switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_BAD_RECORD_TYPE:
      return true;
    default:
      return false;
  }
}

std::string reason_text(unsigned long error) {
  const char* reason = ::ERR_reason_error_string(error);
  return reason ? reason : absl::StrCat("error ", error);
}

absl::Status about_our_certificate(const std::string& prefix, unsigned long error) {
  return absl::UnauthenticatedError(
      absl::StrCat(prefix,
                   ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
                       ? "the peer has shown no certificate; it needs one of client_roots"
                       : "the peer refuses this end's certificate",
                   " (", reason_text(error), ")"));
}

unsigned long take_error() {
  const unsigned long error = ::ERR_get_error();
  ::ERR_clear_error();
  return error;
}

}  // namespace

std::string openssl_text() {
  const unsigned long error = take_error();
  return error ? reason_text(error) : "no reason given";
}

std::string certificate_complaint(X509_STORE_CTX* verified, const std::string& host) {
  const int verdict = ::X509_STORE_CTX_get_error(verified);
  const X509* certificate = ::X509_STORE_CTX_get_current_cert(verified);
  if (!certificate) {
    return absl::StrCat("no certificate: ", ::X509_verify_cert_error_string(verdict));
  }
  const std::string subject = absl::CHexEscape(name_text(::X509_get_subject_name(certificate)));
  if (verdict == X509_V_ERR_CERT_HAS_EXPIRED) {
    return absl::StrCat("the certificate of \"", subject, "\" has expired (it was valid until ",
                        day_of(::X509_get0_notAfter(certificate)),
                        "); renew it, or set this machine's clock");
  }
  if (verdict == X509_V_ERR_CERT_NOT_YET_VALID) {
    return absl::StrCat("the certificate of \"", subject, "\" is not valid yet (from ",
                        day_of(::X509_get0_notBefore(certificate)),
                        " on); wait, or set this machine's clock");
  }
  if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH) {
    return absl::StrCat("the certificate is for ", names_text(certificate), ", not for \"", host,
                        "\"; ask for a name that stands in it, or have one made for this one");
  }
  if (is_unknown_issuer(verdict)) {
    return absl::StrCat("the certificate's issuer \"",
                        absl::CHexEscape(name_text(::X509_get_issuer_name(certificate))),
                        "\" is not trusted here (", ::X509_verify_cert_error_string(verdict),
                        "); name its root in `roots`, or have the peer send its intermediates");
  }
  return absl::StrCat("the certificate is refused: ", ::X509_verify_cert_error_string(verdict));
}

absl::Status handshake_status(const std::string& peer, const std::string& complaint) {
  const unsigned long error = take_error();
  const int reason = ERR_GET_REASON(error);
  const std::string prefix = absl::StrCat(peer, ": ");
  if (!complaint.empty()) return absl::UnauthenticatedError(absl::StrCat(prefix, complaint));
  if (is_about_our_certificate(reason)) return about_our_certificate(prefix, error);
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return absl::UnavailableError(absl::StrCat(
        prefix,
        "the peer ended the connection during the handshake; it may want another version, "
        "or no TLS at all"));
  }
  if (reason == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL ||
      reason == SSL_R_NO_APPLICATION_PROTOCOL) {
    return absl::FailedPreconditionError(absl::StrCat(
        prefix, "the two ends have no protocol in common; look at their `alpn` lists"));
  }
  if (is_not_tls(reason)) {
    return absl::FailedPreconditionError(absl::StrCat(prefix, "the peer does not speak TLS here (",
                                                      reason_text(error), "); check the port"));
  }
  return absl::FailedPreconditionError(absl::StrCat(prefix, "handshake: ", reason_text(error)));
}

absl::Status stream_status(const char* doing) {
  const unsigned long error = take_error();
  const int reason = ERR_GET_REASON(error);
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return absl::DataLossError(
        absl::StrCat(doing, ": the peer ended without close_notify: what it sent may be cut off"));
  }
  if (reason == SSL_R_PROTOCOL_IS_SHUTDOWN) {
    return absl::FailedPreconditionError(
        absl::StrCat(doing, ": this end has been shut down; write before shutdown()"));
  }
  if (is_about_our_certificate(reason)) {
    return about_our_certificate(absl::StrCat(doing, ": "), error);
  }
  return absl::DataLossError(absl::StrCat(doing, ": TLS: ", reason_text(error)));
}

TlsCertificate describe(X509* certificate) {
  TlsCertificate result;
  result.subject = name_text(::X509_get_subject_name(certificate));
  result.issuer = name_text(::X509_get_issuer_name(certificate));
  result.names = names_of(certificate);
  result.not_before = time_of(::X509_get0_notBefore(certificate));
  result.not_after = time_of(::X509_get0_notAfter(certificate));
  const std::unique_ptr<BIGNUM, OpenSslFree<::BN_free>> number(
      ::ASN1_INTEGER_to_BN(::X509_get0_serialNumber(certificate), nullptr));
  if (char* text = number ? ::BN_bn2hex(number.get()) : nullptr) {
    result.serial = absl::AsciiStrToLower(text);
    ::OPENSSL_free(text);
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (::X509_digest(certificate, ::EVP_sha256(), digest, &length) == 1) {
    result.sha256 = absl::BytesToHexString({reinterpret_cast<char*>(digest), length});
  }
  return result;
}

}  // namespace zsync::net
