# The build runs on the builder's own platform and compiles for the target.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src
# Modules have a layer of their own: it lasts until go.mod or go.sum changes.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/twilio-error-sms . && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/twilio-error-sms /
# SQLite makes its files in /data, so the folder must belong to the user.
COPY --from=build --chown=65532:65532 /out/data /data
ARG VERSION=dev
LABEL org.opencontainers.image.title="twilio-error-sms" \
      org.opencontainers.image.description="Texts the errors of your Twilio application to your phones" \
      org.opencontainers.image.version="$VERSION"
# USER_ID=0 is for platforms whose volumes belong to root: docs/deploy.md.
ARG USER_ID=65532
USER $USER_ID:$USER_ID
WORKDIR /data
ENV ADDR=:8080 DATABASE_URL=sqlite:/data/alerts.db
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["/twilio-error-sms", "healthcheck"]
ENTRYPOINT ["/twilio-error-sms"]
